-- name: target_price_upside
-- title: mean price target to the close
-- section: sentiment
-- unit: change
-- use: research
-- window_days: 180
-- kind: estimates
-- formula: mean of each broker's last target of 180 days / last raw close - 1, else the stated consensus; Brav and Lehavy (2003)
WITH price AS (
    SELECT close, known_at FROM bars
    WHERE price_basis = 'raw'
    ORDER BY session DESC
    LIMIT 1
),
targets AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY broker ORDER BY known_at DESC, record_id DESC) AS version
    FROM estimates_adjusted
    WHERE metric = 'price_target' AND age_days < 180
),
mean AS (
    SELECT
        coalesce(
            avg(mean) FILTER (WHERE broker <> 'consensus'), max(mean) FILTER (WHERE broker = 'consensus')
        ) AS target,
        max(event_time) AS event_time, max(known_at) AS known_at,
        last_value(source ORDER BY known_at, record_id) AS source,
        last_value(url ORDER BY known_at, record_id) AS url
    FROM targets
    WHERE version = 1
)
SELECT
    mean.target / price.close - 1 AS value, mean.event_time,
    greatest(mean.known_at, price.known_at) AS known_at, mean.source, mean.url
FROM price CROSS JOIN mean
WHERE mean.target IS NOT NULL
