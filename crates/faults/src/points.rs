//! The table of failpoints. A durable write or an effect that is new gets its line here and stands in [`crate::around`];
//! everything that walks over [`POINTS`] then meets it.

use crate::Point;

macro_rules! points {
    ($($name:ident = $text:literal, $what:literal;)*) => {
        $(#[doc = $what] pub const $name: Point = Point { name: $text, what: $what };)*
        /// All of them.
        pub const POINTS: &[Point] = &[$($name),*];
    };
}

points! {
    // What the start does.
    MIGRATE = "store.migrate", "The schema is brought up to this program's.";
    NODE_REGISTER = "node.register", "This life of the process has its row.";
    NODE_STOP = "node.stop", "A node's row is ended, and its leases with it.";
    NODE_IDLE = "node.idle", "A node's row says why it begins nothing.";
    REAP_NODE = "process.reap_node", "What a dead node has started for no run is killed.";
    REAP_LEFT = "process.reap_left", "Children of a dead node are killed, a page of them.";
    REAP = "process.reap", "Processes of an earlier life of a run are killed.";
    SEEN = "seen.write", "How far the audit was seen is written beside the database.";

    // Tasks, as users change them.
    TASK_ADD = "task.add", "Tasks that wait for nothing are added, with others that come at once.";
    TASK_ADD_TOGETHER = "task.add_together", "Tasks that wait for each other are added.";
    TASK_WISH = "task.wish", "What a user wishes of a task is written.";
    CODEBASE_REGISTER = "codebase.register", "A codebase has its row.";
    CODEBASE_SET = "codebase.set", "A codebase's settings are changed.";
    AGENT_SET = "agent.set", "An agent's configuration is changed.";
    CONFIGURATION_SET = "configuration.set", "A system setting is changed.";
    SCHEDULE_ADD = "schedule.add", "A schedule has its row.";
    SCHEDULE_REMOVE = "schedule.remove", "A schedule is removed.";
    SCHEDULE_SET = "schedule.set", "A schedule rests or goes on.";
    ERROR_RESOLVE = "error.resolve", "An error report is marked as resolved.";

    // The scheduler.
    SCHEDULE_REST = "schedule.rest", "A schedule that cannot go on is put to rest.";
    SCHEDULE_FIRE = "schedule.fire", "A schedule's time is dealt with: its task added, the schedule moved on.";
    CLAIM = "queue.claim", "Ready tasks are claimed, with their executions and runs.";
    PUT_ASIDE = "queue.put_aside", "Tasks whose files are held by others wait for them.";
    CLAIM_BATCH = "queue.claim_batch", "Tasks without a run are claimed.";
    COMPLETE_BATCH = "queue.complete_batch", "Tasks without a run are ended, and what waited for them is judged anew.";
    BEAT = "queue.beat", "A node's heartbeat is written.";
    RENEW = "queue.renew", "A node's leases are renewed.";
    TAKE_OVER = "queue.take_over", "Executions whose lease expired are taken over, or parked.";
    GIVE_BACK = "queue.give_back", "A lease is given back.";
    FINISH = "queue.finish", "The end of an execution is written: execution, run, task and what waits for it.";
    PARK = "queue.park", "A run that cannot be trusted is parked, with its evidence.";
    RECONCILE = "queue.reconcile", "Tasks that no rule would move any more are moved.";

    // A run.
    APPEND = "journal.append", "Steps are appended to journals, with what lies beside them.";
    SET_TRACE = "execution.set_trace", "An execution's trace is written.";
    CHILD_STARTED = "child.started", "A child process has its row.";
    CHILDREN_ENDED = "child.all_ended", "The ends of an earlier life's children are written.";
    CHILD_ENDED = "child.ended", "A child's end is written.";
    CALL_RECORD = "model.record", "A try of a model call that failed is written.";
    CALL_CANCELLED = "model.record_cancelled", "A try that nobody waited for is written.";
    MODEL_CALL = "model.call", "A model is asked.";
    GIT = "workspace.git", "A git command of the runtime runs.";
    DISCARD = "workspace.discard", "A folder of a run is removed.";
    CLONE = "workspace.create", "A run's clone is made.";
    PREPARE = "workspace.prepare", "Dependencies are fetched.";
    RESTORE = "workspace.restore", "The workspace is put back to a snapshot.";
    SNAPSHOT = "workspace.snapshot", "The workspace's files are recorded as git objects.";
    EDIT = "workspace.edit", "Files of the workspace are changed.";
    SPAWN = "process.spawn", "A program is started in the sandbox.";
    RUN = "process.run", "A program runs to its end.";
    CHECKOUT = "workspace.checkout", "A clean checkout for a verification is made.";
    DELIVER = "workspace.deliver", "A change becomes a branch of the user's repository.";
    PATCH = "workspace.patch", "A change becomes a patch file.";

    // What is sent to foreign systems.
    OUTBOX_CLAIM = "outbox.claim", "An effect on a foreign system is claimed by a sender.";
    OUTBOX_RENEW = "outbox.renew", "A sender holds on to its lease.";
    OUTBOX_DONE = "outbox.done", "An effect is there, and what follows it is decided.";
    OUTBOX_FAILED = "outbox.failed", "An effect is given up.";
    OUTBOX_RETRY = "outbox.retry", "Another attempt at an effect is decided.";
    OUTBOX_RESEND = "outbox.resend", "A user has an effect tried again.";
    OUTBOX_LOOK = "outbox.look", "A remote is asked whether an effect is there.";
    OUTBOX_ACT = "outbox.act", "A branch is pushed, or a pull request opened.";

    // What is learned and recorded.
    ERROR_RECORD = "error.record", "A failure has its report.";
    RESOLUTION = "pattern.record_resolution", "What resolved a failure is written.";
    AUDIT_RECORD = "audit.record", "An event of the runtime itself is written to the audit.";
    AUDIT_SEAL = "audit.seal", "A block of the audit's chain is written.";
    UPKEEP = "store.upkeep", "Old partitions are dropped and new ones made.";
}
