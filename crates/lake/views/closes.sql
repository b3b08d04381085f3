-- The name's closes of the last 800 days; age 0 is the latest known session.
-- `close` is adjusted for later dividends and splits: use it in ratios only.
SELECT
    session, event_time, known_at, close,
    CAST(row_number() OVER (ORDER BY session DESC) AS BIGINT) - 1 AS age,
    close / lag(close) OVER (ORDER BY session) - 1 AS ret,
    ln(close / lag(close) OVER (ORDER BY session)) AS log_ret
FROM bars
WHERE age_days < 800
