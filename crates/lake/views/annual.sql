-- Annual figures as last reported: per metric and fiscal year the latest version
-- known. Age 0 is the latest fiscal year known, which a late restatement of an
-- earlier year does not displace. Same rows as the validity-interval join at one
-- point in time.
WITH mapped AS (
    SELECT
        CASE concept
            WHEN 'us-gaap:RevenueFromContractWithCustomerExcludingAssessedTax' THEN 'revenue'
            WHEN 'us-gaap:Revenues' THEN 'revenue'
            WHEN 'us-gaap:SalesRevenueNet' THEN 'revenue'
            WHEN 'us-gaap:NetIncomeLoss' THEN 'net_income'
            WHEN 'us-gaap:EarningsPerShareDiluted' THEN 'eps'
            WHEN 'us-gaap:GrossProfit' THEN 'gross_profit'
        END AS metric,
        -- Where one filing reports several revenue concepts, the first wins.
        CASE concept WHEN 'us-gaap:Revenues' THEN 1 WHEN 'us-gaap:SalesRevenueNet' THEN 2 ELSE 0 END AS rank,
        CAST(period_end AS INTEGER) - CAST(period_start AS INTEGER) AS period_days,
        period_end, value, accession, event_time, known_at, source, url
    FROM facts
    WHERE form IN ('10-K', '10-K/A') AND unit IN ('USD', 'USD/shares')
),
versions AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY metric, period_end
            ORDER BY known_at DESC, accession DESC, rank
        ) AS version
    FROM mapped
    WHERE metric IS NOT NULL AND period_days BETWEEN 350 AND 380
)
SELECT
    metric, period_end, value, event_time, known_at, source, url,
    -- Days since 1970: fiscal years are 52 or 53 weeks, so years are matched by distance.
    CAST(period_end AS INTEGER) AS end_day,
    CAST(row_number() OVER (PARTITION BY metric ORDER BY period_end DESC) AS BIGINT) - 1 AS age
FROM versions
WHERE version = 1
