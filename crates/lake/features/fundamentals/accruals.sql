-- name: accruals
-- title: balance sheet accruals to assets
-- section: fundamentals
-- unit: change
-- polarity: bad
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: (dCA - dCash - (dCL - dSTD - dTP) - Dep) / mean assets of the latest fiscal year; debt in current liabilities STD and taxes payable TP are 0 where not reported; Sloan (1996)
SELECT
    2 * (
        (now.assets_current - prior.assets_current) - (now.cash - prior.cash)
        - (
            (now.liabilities_current - prior.liabilities_current)
            - (now.debt_current - prior.debt_current) - (now.taxes_payable - prior.taxes_payable)
        )
        - now.depreciation
    ) / (now.assets + prior.assets) AS value, now.event_time,
    greatest(now.known_at, prior.known_at) AS known_at, now.source, now.url
FROM fiscal_years now JOIN fiscal_years prior ON now.end_day - prior.end_day BETWEEN 350 AND 380
WHERE now.age = 0 AND now.assets > 0 AND prior.assets > 0
