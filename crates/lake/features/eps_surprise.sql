-- name: eps_surprise
-- title: EPS surprise against the consensus
-- short: EPS surprise
-- section: fundamentals
-- unit: change
-- ttl_days: 400
-- kind: estimates
-- formula: (A - F) / |F|: A annual diluted EPS as first reported, F the last consensus known before that report, on the shares of one date
WITH reported AS (
    SELECT
        value, accession, filed, event_time, known_at, source, url, CAST(period_end AS INTEGER) AS end_day
    FROM facts
    WHERE concept = 'us-gaap:EarningsPerShareDiluted' AND form IN ('10-K', '10-K/A')
        AND CAST(period_end AS INTEGER) - CAST(period_start AS INTEGER) BETWEEN 350 AND 380
    ORDER BY period_end DESC, known_at, accession
    LIMIT 1
),
latest AS (
    SELECT max(session) AS session FROM bars
),
split AS (
    SELECT exp(sum(ln(actions.value))) AS ratio
    FROM reported CROSS JOIN latest JOIN actions
    ON actions.action = 'split' AND actions.ex_date > reported.filed AND actions.ex_date <= latest.session
)
SELECT
    (reported.value / coalesce(split.ratio, 1) - forecast.mean) / abs(forecast.mean) AS value,
    reported.event_time, reported.known_at, reported.source, reported.url
FROM reported CROSS JOIN split JOIN estimates_adjusted forecast
ON forecast.metric = 'eps' AND forecast.broker = 'consensus' AND forecast.mean <> 0
    -- A source may date a fiscal year by the month's end.
    AND abs(forecast.end_day - reported.end_day) <= 10 AND forecast.known_at < reported.known_at
ORDER BY forecast.known_at DESC, forecast.record_id DESC
LIMIT 1
