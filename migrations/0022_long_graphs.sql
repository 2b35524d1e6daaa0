-- What looks for a cycle asks for the tasks that wait for a few others, by index. Its plan is made once for a
-- session, mostly while the table is small, and read the whole table for each edge from then on: the time of
-- a large graph grew with the square of its edges.
ALTER FUNCTION refuse_dependency_cycle() SET enable_seqscan = off;
ALTER FUNCTION refuse_dependency_cycle() SET enable_hashjoin = off;
ALTER FUNCTION refuse_dependency_cycle() SET enable_mergejoin = off;
