-- Market capitalisation at the last close known: shares outstanding as last reported,
-- times the splits since, times the close. No row where closes are adjusted: their level
-- means nothing. The cover of a filing counts the shares of its own date; a balance
-- sheet is restated for the splits until it is filed.
WITH price AS (
    SELECT session, close, known_at FROM bars
    WHERE price_basis = 'raw'
    ORDER BY session DESC
    LIMIT 1
),
counted AS (
    SELECT
        value, known_at, source, url,
        CASE concept WHEN 'us-gaap:CommonStockSharesOutstanding' THEN filed ELSE period_end END AS basis
    FROM facts
    WHERE concept IN ('dei:EntityCommonStockSharesOutstanding', 'us-gaap:CommonStockSharesOutstanding')
        AND unit = 'shares' AND period_start IS NULL AND value > 0 AND age_days < 500
    ORDER BY period_end DESC, known_at DESC, concept, accession DESC
    LIMIT 1
),
split AS (
    SELECT exp(sum(ln(actions.value))) AS ratio
    FROM counted CROSS JOIN price JOIN actions
    ON actions.action = 'split' AND actions.ex_date > counted.basis AND actions.ex_date <= price.session
)
SELECT
    counted.value * coalesce(split.ratio, 1) * price.close AS value,
    price.session, greatest(price.known_at, counted.known_at) AS known_at, counted.source, counted.url
FROM price CROSS JOIN counted CROSS JOIN split
