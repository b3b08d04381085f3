-- name: target_dispersion
-- title: deviation of brokers' price targets to their mean
-- section: sentiment
-- unit: ratio
-- use: research
-- window_days: 180
-- kind: estimates
-- formula: sd (ddof 1) / |mean| of each broker's last target of 180 days; Diether, Malloy and Scherbina (2002) of targets
WITH targets AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY broker ORDER BY known_at DESC, record_id DESC) AS version
    FROM estimates_adjusted
    WHERE metric = 'price_target' AND broker <> 'consensus' AND age_days < 180
)
SELECT
    stddev(mean) / abs(avg(mean)) AS value, max(event_time) AS event_time, max(known_at) AS known_at,
    last_value(source ORDER BY known_at, record_id) AS source,
    last_value(url ORDER BY known_at, record_id) AS url
FROM targets
WHERE version = 1
HAVING count(*) > 1
