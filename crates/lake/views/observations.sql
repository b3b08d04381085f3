-- Macro observations of the last 400 days in their latest vintage known; age 0 is the
-- latest known period of its series.
WITH vintages AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY series, period_end ORDER BY known_at DESC, record_id DESC
        ) AS vintage
    FROM macro_series
    WHERE age_days < 400
)
SELECT
    series, period_end, value, event_time, known_at, source, url,
    CAST(row_number() OVER (PARTITION BY series ORDER BY period_end DESC) AS BIGINT) - 1 AS age
FROM vintages
WHERE vintage = 1
