-- Consensus of earnings per share of the next fiscal year to be reported; age 0 is the
-- latest statement known. A year that ended more than 200 days ago is not ahead, also
-- where its report is in no archive.
WITH reported AS (
    SELECT max(end_day) AS end_day FROM annual WHERE metric = 'eps'
),
ahead AS (
    SELECT estimate.*, CAST(CAST(estimate.known_at AS DATE) AS INTEGER) + floor(estimate.age_days) AS today
    FROM estimates_adjusted estimate CROSS JOIN reported
    WHERE estimate.metric = 'eps' AND estimate.broker = 'consensus'
        -- A source may date a fiscal year by the month's end.
        AND estimate.end_day > coalesce(reported.end_day, 0) + 10
),
upcoming AS (
    SELECT min(end_day) AS end_day FROM ahead WHERE end_day > today - 200
)
SELECT
    ahead.period_end, ahead.mean, ahead.low, ahead.high, ahead.analysts, ahead.age_days,
    ahead.event_time, ahead.known_at, ahead.source, ahead.url,
    CAST(row_number() OVER (ORDER BY ahead.known_at DESC, ahead.record_id DESC) AS BIGINT) - 1 AS age
FROM ahead JOIN upcoming ON upcoming.end_day = ahead.end_day
