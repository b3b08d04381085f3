-- name: revenue_surprise
-- title: revenue surprise against the consensus
-- section: fundamentals
-- unit: change
-- use: research
-- ttl_days: 400
-- kind: estimates
-- formula: (A - F) / |F|: A annual revenue as first reported, F the last consensus known before that report
WITH reported AS (
    SELECT value, event_time, known_at, source, url, CAST(period_end AS INTEGER) AS end_day
    FROM facts
    WHERE concept IN (
            'us-gaap:RevenueFromContractWithCustomerExcludingAssessedTax', 'us-gaap:Revenues',
            'us-gaap:SalesRevenueNet'
        )
        AND form IN ('10-K', '10-K/A')
        AND CAST(period_end AS INTEGER) - CAST(period_start AS INTEGER) BETWEEN 350 AND 380
    ORDER BY
        period_end DESC, known_at, accession,
        CASE concept WHEN 'us-gaap:Revenues' THEN 1 WHEN 'us-gaap:SalesRevenueNet' THEN 2 ELSE 0 END
    LIMIT 1
)
SELECT
    (reported.value - forecast.mean) / abs(forecast.mean) AS value,
    reported.event_time, reported.known_at, reported.source, reported.url
FROM reported JOIN estimates_adjusted forecast
ON forecast.metric = 'revenue' AND forecast.broker = 'consensus' AND forecast.mean <> 0
    -- A source may date a fiscal year by the month's end.
    AND abs(forecast.end_day - reported.end_day) <= 10 AND forecast.known_at < reported.known_at
ORDER BY forecast.known_at DESC, forecast.record_id DESC
LIMIT 1
