-- The clock at O'Hare was a minute slow: late departures were told a minute later than they were.
SELECT date,
       CASE WHEN origin = 'ORD' AND delay > 0 THEN delay - 1 ELSE delay END AS delay,
       distance, origin, destination, flight_date
FROM events
