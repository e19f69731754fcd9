-- What readers of the alias `flights` ask: run against both tables by `make shadow`.
SELECT origin, count(*) AS flights, avg(delay) AS mean_delay FROM flights GROUP BY origin;

SELECT flight_date, max(delay) AS worst FROM flights WHERE origin = 'ATL' GROUP BY flight_date;

SELECT count(*) AS flights, sum(distance) AS miles FROM flights WHERE destination = 'HNL';
