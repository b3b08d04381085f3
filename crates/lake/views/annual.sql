-- Annual figures as last reported: per metric and fiscal year the latest version
-- known. Age 0 is the latest fiscal year known, which a late restatement of an
-- earlier year does not displace. Same rows as the validity-interval join at one
-- point in time. Flows are of a year, stocks of its last day.
WITH mapped AS (
    SELECT
        CASE concept
            WHEN 'us-gaap:RevenueFromContractWithCustomerExcludingAssessedTax' THEN 'revenue'
            WHEN 'us-gaap:Revenues' THEN 'revenue'
            WHEN 'us-gaap:SalesRevenueNet' THEN 'revenue'
            WHEN 'us-gaap:NetIncomeLoss' THEN 'net_income'
            WHEN 'us-gaap:EarningsPerShareDiluted' THEN 'eps'
            WHEN 'us-gaap:GrossProfit' THEN 'gross_profit'
            WHEN 'us-gaap:OperatingIncomeLoss' THEN 'operating_income'
            WHEN 'us-gaap:InterestExpense' THEN 'interest_expense'
            WHEN 'us-gaap:InterestExpenseNonoperating' THEN 'interest_expense'
            WHEN 'us-gaap:NetCashProvidedByUsedInOperatingActivities' THEN 'operating_cash_flow'
            WHEN 'us-gaap:DepreciationDepletionAndAmortization' THEN 'depreciation'
            WHEN 'us-gaap:DepreciationAndAmortization' THEN 'depreciation'
            WHEN 'us-gaap:Depreciation' THEN 'depreciation'
            WHEN 'us-gaap:Assets' THEN 'assets'
            WHEN 'us-gaap:AssetsCurrent' THEN 'assets_current'
            WHEN 'us-gaap:CashAndCashEquivalentsAtCarryingValue' THEN 'cash'
            WHEN 'us-gaap:Liabilities' THEN 'liabilities'
            WHEN 'us-gaap:LiabilitiesCurrent' THEN 'liabilities_current'
            WHEN 'us-gaap:StockholdersEquity' THEN 'equity'
            WHEN 'us-gaap:StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest' THEN 'equity'
            WHEN 'us-gaap:LongTermDebtNoncurrent' THEN 'debt_noncurrent'
            WHEN 'us-gaap:LongTermDebtAndCapitalLeaseObligations' THEN 'debt_noncurrent'
            WHEN 'us-gaap:DebtCurrent' THEN 'debt_current'
            WHEN 'us-gaap:LongTermDebtCurrent' THEN 'long_term_debt_current'
            WHEN 'us-gaap:LongTermDebtAndCapitalLeaseObligationsCurrent' THEN 'long_term_debt_current'
            WHEN 'us-gaap:ShortTermBorrowings' THEN 'short_term_borrowings'
            WHEN 'us-gaap:CommercialPaper' THEN 'short_term_borrowings'
            WHEN 'us-gaap:AccruedIncomeTaxesCurrent' THEN 'taxes_payable'
            WHEN 'us-gaap:TaxesPayableCurrent' THEN 'taxes_payable'
            WHEN 'us-gaap:CommonStockSharesOutstanding' THEN 'shares'
        END AS metric,
        -- Where one filing reports several concepts of a metric, the first wins.
        CASE concept
            WHEN 'us-gaap:Revenues' THEN 1
            WHEN 'us-gaap:SalesRevenueNet' THEN 2
            WHEN 'us-gaap:InterestExpenseNonoperating' THEN 1
            WHEN 'us-gaap:DepreciationAndAmortization' THEN 1
            WHEN 'us-gaap:Depreciation' THEN 2
            WHEN 'us-gaap:StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest' THEN 1
            WHEN 'us-gaap:LongTermDebtAndCapitalLeaseObligations' THEN 1
            WHEN 'us-gaap:LongTermDebtAndCapitalLeaseObligationsCurrent' THEN 1
            WHEN 'us-gaap:CommercialPaper' THEN 1
            WHEN 'us-gaap:TaxesPayableCurrent' THEN 1
            ELSE 0
        END AS rank,
        CAST(period_end AS INTEGER) - CAST(period_start AS INTEGER) AS period_days,
        period_end, value, accession, filed, event_time, known_at, source, url
    FROM facts
    WHERE form IN ('10-K', '10-K/A') AND unit IN ('USD', 'USD/shares', 'shares')
),
versions AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY metric, period_end
            ORDER BY known_at DESC, accession DESC, rank
        ) AS version
    FROM mapped
    WHERE metric IS NOT NULL
        AND CASE
            WHEN metric IN (
                'revenue', 'net_income', 'eps', 'gross_profit', 'operating_income', 'interest_expense',
                'operating_cash_flow', 'depreciation'
            ) THEN period_days BETWEEN 350 AND 380
            ELSE period_days IS NULL
        END
)
SELECT
    metric, period_end, value, accession, filed, event_time, known_at, source, url,
    -- Days since 1970: fiscal years are 52 or 53 weeks, so years are matched by distance.
    CAST(period_end AS INTEGER) AS end_day,
    CAST(row_number() OVER (PARTITION BY metric ORDER BY period_end DESC) AS BIGINT) - 1 AS age
FROM versions
WHERE version = 1
