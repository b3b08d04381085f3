-- Estimates in shares of the last session known: a split divides earnings per share and
-- price targets that were stated before it.
WITH latest AS (
    SELECT max(session) AS session FROM bars
),
split AS (
    SELECT estimates.record_id, exp(sum(ln(actions.value))) AS ratio
    FROM estimates CROSS JOIN latest JOIN actions
    ON actions.action = 'split'
        AND actions.ex_date > CAST(estimates.known_at AS DATE)
        AND actions.ex_date <= latest.session
    GROUP BY estimates.record_id
)
SELECT
    estimates.record_id, metric, period_end, broker, analysts,
    mean / CASE metric WHEN 'revenue' THEN 1 ELSE coalesce(split.ratio, 1) END AS mean,
    low / CASE metric WHEN 'revenue' THEN 1 ELSE coalesce(split.ratio, 1) END AS low,
    high / CASE metric WHEN 'revenue' THEN 1 ELSE coalesce(split.ratio, 1) END AS high,
    event_time, known_at, source, url, age_days, CAST(period_end AS INTEGER) AS end_day
FROM estimates LEFT JOIN split ON split.record_id = estimates.record_id
