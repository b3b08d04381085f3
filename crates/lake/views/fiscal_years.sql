-- Fiscal years with their annual figures as columns, each as last reported; a figure
-- that was not reported is null. Age 0 is the latest year. What is known of a year is
-- known when the last of its figures is.
WITH years AS (
    SELECT
        period_end, end_day, max(event_time) AS event_time, max(known_at) AS known_at,
        last_value(source ORDER BY known_at, accession) AS source,
        last_value(url ORDER BY known_at, accession) AS url,
        max(value) FILTER (WHERE metric = 'revenue') AS revenue,
        max(value) FILTER (WHERE metric = 'net_income') AS net_income,
        max(value) FILTER (WHERE metric = 'gross_profit') AS gross_profit,
        max(value) FILTER (WHERE metric = 'operating_income') AS operating_income,
        max(value) FILTER (WHERE metric = 'interest_expense') AS interest_expense,
        max(value) FILTER (WHERE metric = 'operating_cash_flow') AS operating_cash_flow,
        max(value) FILTER (WHERE metric = 'depreciation') AS depreciation,
        max(value) FILTER (WHERE metric = 'assets') AS assets,
        max(value) FILTER (WHERE metric = 'assets_current') AS assets_current,
        max(value) FILTER (WHERE metric = 'cash') AS cash,
        max(value) FILTER (WHERE metric = 'liabilities') AS liabilities,
        max(value) FILTER (WHERE metric = 'liabilities_current') AS liabilities_current,
        max(value) FILTER (WHERE metric = 'equity') AS equity,
        max(value) FILTER (WHERE metric = 'debt_noncurrent') AS debt_noncurrent,
        -- Debt due within a year: as one figure where it is tagged, else as the sum of its parts.
        coalesce(
            max(value) FILTER (WHERE metric = 'debt_current'),
            coalesce(max(value) FILTER (WHERE metric = 'long_term_debt_current'), 0)
            + coalesce(max(value) FILTER (WHERE metric = 'short_term_borrowings'), 0)
        ) AS debt_current,
        coalesce(max(value) FILTER (WHERE metric = 'taxes_payable'), 0) AS taxes_payable,
        max(value) FILTER (WHERE metric = 'shares') AS shares
    FROM annual
    GROUP BY period_end, end_day
)
SELECT *, CAST(row_number() OVER (ORDER BY period_end DESC) AS BIGINT) - 1 AS age
FROM years
WHERE coalesce(revenue, net_income, assets) IS NOT NULL
