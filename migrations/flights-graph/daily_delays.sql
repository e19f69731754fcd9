SELECT flight_date, origin, count(*) AS flights, sum(CASE WHEN delay > 15 THEN 1 ELSE 0 END) AS delayed,
       sum(delay) AS delay_minutes
FROM flights
GROUP BY flight_date, origin
