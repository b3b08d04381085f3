-- Macro observations of the last 400 days; age 0 is the latest known of its series.
SELECT
    series, period_end, value, event_time, known_at, source, url,
    CAST(row_number() OVER (PARTITION BY series ORDER BY period_end DESC) AS BIGINT) - 1 AS age
FROM macro_series
WHERE age_days < 400
