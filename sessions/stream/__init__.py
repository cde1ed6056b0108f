"""What lies in Redis: the stream of events, the lanes, pieces of answers and notices."""
