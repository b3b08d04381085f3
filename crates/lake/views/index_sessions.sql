-- Sessions of the market index with the change from the session before.
SELECT
    session, event_time, known_at, close,
    lag(close) OVER w AS prev_close,
    close / lag(close) OVER w - 1 AS ret,
    ln(close / lag(close) OVER w) AS log_ret
FROM index_bars
WINDOW w AS (ORDER BY session)
