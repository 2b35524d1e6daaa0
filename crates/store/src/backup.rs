//! What a restore does before and after it fills a database: the texts go to `psql`, in the transaction
//! of the restore.

/// Drops all tables, views, sequences, functions and types of the schema `public` that belong to no
/// extension. PostgreSQL's own way (`pg_restore --clean`) drops constraints one by one, which it
/// refuses for those that a partition inherits. Sequences come last: those of columns are gone then.
pub const EMPTY: &str = "SET LOCAL client_min_messages = warning; DO $$ DECLARE statement text; BEGIN \
     FOREACH statement IN ARRAY array( \
         SELECT format('DROP %s IF EXISTS public.%I CASCADE', CASE c.relkind WHEN 'v' THEN 'VIEW' \
             WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN \
             'FOREIGN TABLE' ELSE 'TABLE' END, c.relname) FROM pg_catalog.pg_class c \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') \
         ORDER BY c.relkind = 'S') \
     || array(SELECT format('DROP ROUTINE IF EXISTS public.%I(%s) CASCADE', p.proname, \
             pg_get_function_identity_arguments(p.oid)) FROM pg_catalog.pg_proc p \
         WHERE p.pronamespace = 'public'::regnamespace \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')) \
     || array(SELECT format('DROP TYPE IF EXISTS public.%I CASCADE', t.typname) \
         FROM pg_catalog.pg_type t WHERE t.typnamespace = 'public'::regnamespace \
             AND t.typtype IN ('e', 'd', 'r') \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')) \
     LOOP EXECUTE statement; END LOOP; END $$";

/// Gives back all leases of the day of the backup. A node of another machine may still work under one of them: what
/// it has done since is not there any more, and it must not go on. What a backup of an older version does not have
/// yet is left out.
pub const FENCE: &str = "SET LOCAL search_path TO public; \
     SET LOCAL journeyman.actor TO 'restore'; UPDATE task_executions SET node_id = NULL, lease_epoch = lease_epoch + 1, \
     lease_expires_at = now() WHERE status = 'running'; DO $$ BEGIN \
     IF EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass('outbox') \
             AND attname = 'lease_epoch') THEN \
         UPDATE outbox SET node_id = NULL, lease_epoch = lease_epoch + 1, lease_expires_at = now() \
             WHERE state = 'sending'; \
     END IF; \
     IF to_regclass('task_leases') IS NOT NULL THEN \
         UPDATE task_leases SET node_id = '00000000-0000-0000-0000-000000000000', expires_at = now(); \
     END IF; END $$";
