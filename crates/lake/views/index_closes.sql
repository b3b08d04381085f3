-- The market index's closes of the last 800 days; age 0 is the latest known session.
SELECT
    session, event_time, known_at, close,
    CAST(row_number() OVER (ORDER BY session DESC) AS BIGINT) - 1 AS age,
    close / lag(close) OVER (ORDER BY session) - 1 AS ret,
    ln(close / lag(close) OVER (ORDER BY session)) AS log_ret
FROM index_bars
WHERE age_days < 800
