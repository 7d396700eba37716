//! Every bound of the host in one place, with its unit in its name. A bound that an app may change is the
//! default of a field of `config::AppConfig`. Relations between bounds are checked when this compiles.

use std::time::Duration;

/// Longest app, type, handler and timer name.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest entity key.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest key within one entity's state.
pub const STATE_KEY_BYTES_MAX: usize = 1024;
/// Largest value within one entity's state.
pub const STATE_VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Largest body of a request or message, and largest reply.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest sum of keys and values that one transaction writes.
pub const TRANSACTION_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most messages and timers that one transaction emits.
pub const TRANSACTION_SENDS_MAX: usize = 10_000;
/// Largest context of a continuation or callback.
pub const CONTEXT_BYTES_MAX: usize = 64 * 1024;
/// Longest message of a rejection or failure that a continuation is told; longer ones are cut.
pub const REPLY_MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Largest input that a reply comes to: a context, and a result in base64 or a rejection with its details.
pub const REPLY_BYTES_MAX: usize = CONTEXT_BYTES_MAX + 2 * BODY_BYTES_MAX;
/// What a reply has beside its context, value, message and details.
pub const REPLY_FRAME_BYTES_MAX: usize = 1024;
/// Longest time that a callback waits.
pub const CALLBACK_TIME_MAX: Duration = Duration::from_secs(400 * 24 * 3600);
/// Most host calls of one transaction.
pub const HOST_CALLS_MAX: u64 = 1_000_000;
/// Most entries and bytes that one scan returns.
pub const SCAN_ENTRIES_MAX: usize = 10_000;
/// Most bytes that one scan returns.
pub const SCAN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most random bytes of one host call.
pub const RANDOM_BYTES_MAX: u32 = 1024;
/// Most pending named timers of one entity.
pub const TIMERS_PER_ENTITY_MAX: usize = 1_000;
/// Longest delay of a send or timer.
pub const DELAY_MAX: Duration = Duration::from_secs(366 * 24 * 3600 * 10);

/// Longest log line of a guest; longer ones are cut.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;
/// Log lines one call may write; the rest are counted and dropped.
pub const LOG_LINES_PER_CALL_MAX: usize = 100;
/// Log lines kept in memory for each app.
pub const LOG_LINES_KEPT: usize = 10_000;
/// Bytes of those lines.
pub const LOG_BYTES_KEPT: usize = 8 * 1024 * 1024;
/// Lines of one app's guests that the host's own log takes in a second.
pub const HOST_LOG_GUEST_LINES_MAX: u64 = 50;
/// Bytes of a guest's line that it shows.
pub const HOST_LOG_GUEST_LINE_BYTES_MAX: usize = 2 * 1024;
/// Longest quote of an input or schema in an error message.
pub const MESSAGE_BYTES_MAX: usize = 300;
/// Schemas that one schema of a describe document may stand for, references followed.
pub const SCHEMA_STEPS_MAX: u64 = 100_000;
/// Steps that checking one input against its schema may take: each value against each schema.
pub const CHECK_STEPS_MAX: u64 = 200_000_000;
/// Steps of comparing a schema with the one that a deploy puts in its place; after them it counts as another one.
pub const FITS_STEPS_MAX: u64 = 2_000_000;
/// Schemas that are looked at to find what one argument of a query is.
pub const SHAPE_STEPS_MAX: usize = 200;
/// Bytes of an author's values that one example of the OpenAPI document is made of.
pub const EXAMPLE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one compiled pattern of a schema; a class of Unicode letters, 50 times, takes about that.
pub const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// Handlers of one component; its OpenAPI document has some 10 KB for each.
pub const HANDLERS_MAX: usize = 1_000;
/// Patterns of all schemas of one component.
pub const PATTERNS_MAX: usize = 200;
/// References and members within each other up to which a schema is weighed.
pub const SCHEMA_DEPTH_MAX: usize = 500;
/// Versions of one type's state whose fields an app's record lists.
pub const STATE_VERSIONS_KEPT: usize = 100;
/// Versions of one app that can be made live again: their components and compiled code are kept.
pub const APP_VERSIONS_KEPT: usize = 20;
/// Versions of one app beside the live one that are held ready in memory, the last live ones.
pub const APP_VERSIONS_READY: usize = 3;
/// How far back an app's record says which versions were live in turn.
pub const APP_LIVES_KEPT: usize = 100;
/// Time over which a ramp compares the two versions: the present window of this length and the one before.
pub const RAMP_WINDOW: Duration = Duration::from_secs(60);
/// Failures of the new version below which a ramp goes on.
pub const RAMP_FAILURES_MIN: u64 = 5;
/// How many times the old version's failure rate the new one's must be to halt a ramp.
pub const RAMP_RATIO_MAX: f64 = 2.0;
/// Standard errors by which the new version's failure rate must be above the old one's to halt a ramp: 3 happens by
/// chance once in 700 looks.
pub const RAMP_DEVIATIONS_MAX: f64 = 3.0;
/// Secrets of one app.
pub const SECRETS_MAX: usize = 100;
/// Bytes of one secret.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;

/// Tokens that a host has.
pub const TOKENS_MAX: usize = 1_000;
/// Apps that one token may name.
pub const TOKEN_APPS_MAX: usize = 100;
/// Longest time until a token expires, when it does.
pub const TOKEN_TIME_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// Body of a request for a token.
pub const TOKEN_REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the body of a request that is refused for who sent it which are read and thrown away.
pub const STRANGER_DISCARD_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a file of the audit log above which the next one begins.
pub const AUDIT_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Files of the audit log that are kept.
pub const AUDIT_FILES_MAX: usize = 16;

/// Largest component that is accepted.
pub const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Processor time that compiling one component may take. The engines of JavaScript and Python take 12 to 18 s.
pub const COMPILE_TIME_MAX: Duration = Duration::from_secs(60);
/// Time by the clock that it may take: on a busy machine a compiler gets less than a processor.
pub const COMPILE_WAIT_MAX: Duration = Duration::from_secs(110);
/// Address space of the compiling child.
pub const COMPILE_MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Compiled code of one component; about six times the component's bytes is usual.
pub const COMPILED_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Functions of all modules of a component. Rust guests have hundreds, language interpreters tens of
/// thousands; 131 000 tiny ones compile for 14 s.
pub const COMPONENT_FUNCTIONS_MAX: usize = 60_000;
/// Bytes of one function's body: compile time grows faster than it. The main loop of an interpreter is the
/// largest that real tools emit, some 100 to 300 KiB.
pub const FUNCTION_BYTES_MAX: usize = 512 * 1024;
/// Locals of one function; unoptimised Rust has thousands.
pub const FUNCTION_LOCALS_MAX: usize = 20_000;
/// Blocks within blocks of one function: a `match` of n arms compiles to n nested ones.
pub const BLOCK_NESTING_MAX: usize = 2_000;
/// Loops within loops of one function: compile time is quadratic in it.
pub const LOOP_NESTING_MAX: usize = 60;
/// Modules and components within one component, at any depth.
pub const COMPONENT_PARTS_MAX: usize = 1_000;
/// Components within components.
pub const COMPONENT_NESTING_MAX: usize = 16;
/// Data and element segments of a component.
pub const COMPONENT_SEGMENTS_MAX: usize = 200_000;
/// Largest `describe` document.
pub const DESCRIBE_BYTES_MAX: usize = 1024 * 1024;

/// Linear memory of one guest instance.
pub const GUEST_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Table elements of one guest instance.
pub const GUEST_TABLE_ELEMENTS_MAX: usize = 100_000;
/// Native stack of one guest call.
pub const GUEST_STACK_BYTES_MAX: usize = 512 * 1024;
/// Linear memories of one guest instance.
pub const GUEST_MEMORIES_MAX: u32 = 2;
/// Tables of one guest instance.
pub const GUEST_TABLES_MAX: u32 = 4;
/// Core modules instantiated by one guest instance; a component that wraps one module has three.
pub const GUEST_CORE_INSTANCES_MAX: u32 = 16;
/// The host's bookkeeping for one guest instance.
pub const GUEST_INSTANCE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Linear memory of a pool slot that stays mapped between instances: all of a small guest.
pub const GUEST_MEMORY_KEEP_BYTES: usize = 256 * 1024;
/// Table of a pool slot that stays mapped between instances.
pub const GUEST_TABLE_KEEP_BYTES: usize = 4 * 1024;
/// Component handles that one guest instance may hold.
pub const GUEST_HANDLES_MAX: usize = 1_000;
/// Bytes that one host call may pass from the guest to the host: a value and its key, or a page of keys.
pub const HOST_CALL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Frames kept of a trap's backtrace.
pub const TRAP_FRAMES_MAX: usize = 32;
/// Ticks without a call after which the deadline clock stops until the next one.
pub const IDLE_TICKS_MAX: u32 = 200;
/// Time that one handler call may take.
pub const HANDLER_DEADLINE: Duration = Duration::from_secs(5);
/// How long one tick of the deadline clock is.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);
/// Calls after which a warm instance is replaced.
pub const WARM_CALLS_MAX: u32 = 10_000;
/// Linear memory above which a warm instance is not kept. Python begins with 13 to 17 MiB.
pub const WARM_MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Linear memory of all warm instances that one worker thread keeps.
pub const WARM_BYTES_PER_WORKER_MAX: usize = 512 * 1024 * 1024;
/// Warm instances that one worker thread keeps, over all apps.
pub const WARM_INSTANCES_PER_WORKER_MAX: usize = 32;

/// Commands waiting at one entity; calls and sends from outside beyond it get 429.
pub const MAILBOX_MESSAGES_MAX: usize = 100_000;
/// Messages waiting, backing off or scheduled in one partition; ingress beyond it gets 503.
pub const PARTITION_MESSAGES_MAX: usize = 4_000_000;
/// Bytes of the bodies of those messages.
pub const PARTITION_MESSAGE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Messages of one app in one partition, unless it says otherwise: half of all, so that others have room.
pub const APP_BACKLOG_MAX: usize = PARTITION_MESSAGES_MAX / 2;
/// Bytes of those messages.
pub const APP_BACKLOG_BYTES_MAX: usize = PARTITION_MESSAGE_BYTES_MAX / 2;
/// Entities whose size of state is kept in memory, of those whose apps bound it.
pub const STATE_SIZES_MAX: usize = 16_384;
/// Requests waiting in a partition's inbox channel.
pub const PARTITION_INBOX_MAX: usize = 16_384;
/// Guest calls handed to the executor threads and not finished.
pub const EXECUTOR_QUEUE_MAX: usize = 4_096;
/// Transactions in one journal batch, and their bytes.
pub const BATCH_TRANSACTIONS_MAX: usize = 8_192;
/// Bytes of one journal batch above which it takes no further transaction.
pub const BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Changed rows of one entity that are kept in a sorted vector; more are kept in a tree.
pub const ROWS_IN_VECTOR_MAX: usize = 16;
/// Uncheckpointed writes in memory that start a checkpoint early.
pub const VIEW_BYTES_CHECKPOINT: usize = 64 * 1024 * 1024;
/// Uncheckpointed writes in memory above which ingress is refused with 503 until a checkpoint ends.
pub const VIEW_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Pause between checkpoints while there is something to write.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// Forgotten rows that one checkpoint purges.
pub const PURGE_ROWS_MAX: usize = 20_000;
/// Scheduled messages that one batch makes due.
pub const DUE_MESSAGES_MAX: usize = 4_096;
/// Guest calls of one app that run at the same time.
pub const APP_RUNNING_MAX: usize = 8;
/// Executor threads, counting those added while others are held up by slow guests.
pub const EXECUTOR_THREADS_MAX: usize = 32;
/// Native stack of an executor thread: the guest's share and the host's own.
pub const EXECUTOR_STACK_BYTES: usize = 2 * 1024 * 1024;
/// How long a guest call may wait for a thread before another thread is added.
pub const EXECUTOR_PATIENCE: Duration = Duration::from_millis(10);
/// Average time of a handler's calls up to which they run on the thread that brought them.
pub const INLINE_CALL_TIME: Duration = Duration::from_micros(200);
/// Time that a call gets on the thread that brought it, before it starts over on an executor thread. Longer than
/// a busy system keeps a thread waiting for a processor, mostly.
pub const INLINE_DEADLINE: Duration = Duration::from_millis(20);
/// Time after a first such overrun in which the handler's calls run on executor threads only. Each further one
/// doubles it.
pub const INLINE_DISTRUST_MIN: Duration = Duration::from_millis(20);
/// The longest such time, and how long a handler must behave until its first overrun counts as first again.
pub const INLINE_DISTRUST_MAX: Duration = Duration::from_millis(20 << 9);
/// Time that a thread spends on guest calls before it hands further ones to executor threads.
pub const INLINE_TIME_MAX: Duration = Duration::from_micros(500);
/// How long an added thread stays without work.
pub const EXECUTOR_IDLE_MAX: Duration = Duration::from_secs(10);
/// Times that a caller tries the partition's lock, a few nanoseconds each, before it leaves its request to
/// the thread that has it.
pub const DRIVER_SPINS: usize = 200;
/// Requests that the partition's loop takes before it looks at other events.
pub const INBOX_DRAIN_MAX: usize = 512;
/// Bytes of the outcomes of calls without a key that are kept in memory.
pub const RECENT_OUTCOME_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How often a query runs again that found state of an older version: once after the entity was brought up to
/// date, and once before when that happened while it ran.
pub const OUTDATED_RETRIES_MAX: u8 = 2;
/// What operators may pause: apps, types and entities, in one partition.
pub const PAUSES_MAX: usize = 10_000;
/// Operators' writes that wait for running commands, in one partition.
pub const OPERATIONS_MAX: usize = 1_000;
/// Messages or dead letters that one page of a listing looks at, whether they match or not.
pub const LOOK_ROWS_MAX: usize = 20_000;
/// Rows of one entity's state that operators see at once.
pub const STATE_ROWS_SHOWN_MAX: usize = 50_000;
/// Pause before a partition whose storage failed is reopened.
pub const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// redb's page cache for the state file.
pub const STATE_CACHE_BYTES: usize = 256 * 1024 * 1024;
/// The same for the copy that a snapshot makes.
pub const COPY_CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Rows that a snapshot's copy writes in one transaction.
pub const COPY_ROWS: usize = 50_000;
/// Requests a second that the bench's noisy app may make.
pub const BENCH_NOISY_QUOTA: u32 = 500;
/// Connections over which it asks for ten times as many.
pub const BENCH_NOISY_CONNECTIONS: usize = 32;
/// Requests a second of its neighbour.
pub const BENCH_QUIET_RATE: f64 = 500.0;
/// Rounds of the neighbour alone and beside it.
pub const BENCH_NEIGHBOUR_ROUNDS: u32 = 5;
/// An app's weight among others.
pub const APP_WEIGHT_MAX: u32 = 100;
/// Shortest pause of an app that is over its rate of turns: what came due meanwhile starts together.
pub const TURNS_PAUSE_MIN: Duration = Duration::from_millis(1);
/// Entities whose rates are kept before those that are past are looked for.
pub const QUOTA_ENTITIES: usize = 4_096;
/// Bytes of a snapshot's name.
pub const SNAPSHOT_NAME_BYTES_MAX: usize = 64;
/// The same for `keystead doctor`, which reads each page once.
pub const DOCTOR_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Damaged blocks of a state file that `keystead doctor` lists by their place.
pub const DOCTOR_BLOCKS_LISTED: usize = 8;
/// Rows between two reports of progress.
pub const DOCTOR_TICK_ROWS: u64 = 10_000;
/// Bytes of a journal's first file; each next one is twice as large.
pub const JOURNAL_SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
/// Bytes of a journal's files at most, unless one batch needs more.
pub const JOURNAL_SEGMENT_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Files that a journal keeps to write again, so that it need not fill new ones.
pub const JOURNAL_SPARES_MAX: usize = 4;

/// Attempts before a message is parked as a dead letter.
pub const ATTEMPTS_MAX: u32 = 10;
/// First pause between attempts.
pub const RETRY_INITIAL: Duration = Duration::from_millis(200);
/// Longest pause between attempts.
pub const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long the outcome of a keyed call or of a send is kept.
pub const OUTCOME_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// Outcomes of calls without a key that are kept in memory.
pub const RECENT_OUTCOMES_MAX: usize = 20_000;
/// Buckets that they are found by.
pub const RECENT_OUTCOMES_BUCKETS: usize = 512;
/// Turns that a partition remembers for people who ask what happened.
pub const HISTORY_TURNS_MAX: usize = 16_384;
/// Bytes of them.
pub const HISTORY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Turns that are remembered and forgotten together.
pub const HISTORY_CHUNK_TURNS: usize = 256;
/// Bytes after which such a group takes no further one.
pub const HISTORY_CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of a remembered reason.
pub const HISTORY_REASON_BYTES_MAX: usize = 300;
/// Handlers' names that turns share.
pub const HISTORY_NAMES_MAX: usize = 1_024;
/// Messages of a journey.
pub const JOURNEY_MESSAGES_MAX: usize = 250;
/// Causes that a journey goes up to.
pub const JOURNEY_CAUSES_MAX: usize = 50;

/// Longest `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of a request.
pub const HEADERS_MAX: usize = 64;
/// Time to send a request's head.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Time to send a request's body.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Time that a call waits for its durable result before it gets 504.
pub const CALL_WAIT_MAX: Duration = Duration::from_secs(30);
/// Time that a caller who leaves waits to hear by which id to ask.
pub const LEAVE_WAIT_MAX: Duration = Duration::from_secs(1);
/// Calls of a partition that can be asked for after their callers left; the others only when they have ended.
pub const LATE_CALLS_MAX: usize = 4096;
/// Longest `wait` of a status query.
pub const STATUS_WAIT_MAX: Duration = Duration::from_secs(60);
/// Time without a new request after which a connection without an open one is closed.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Bodies up to this are copied out of their connection's read buffer, so that they do not keep it.
pub const BODY_COPY_BYTES_MAX: usize = 4 * 1024;
/// Bytes of an unwanted body that are read and thrown away, so that the client gets its answer.
pub const DISCARD_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;
/// The same for the admin API, whose bodies are components.
pub const ADMIN_DISCARD_BYTES_MAX: usize = 2 * COMPONENT_BYTES_MAX;
/// Time that goes into throwing them away.
pub const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);
/// What `Retry-After` says.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Finished spans that wait to be sent; further ones are dropped.
pub const TRACE_QUEUE_MAX: usize = 16_384;
/// Spans of one export.
pub const OTLP_BATCH_SPANS_MAX: usize = 512;
/// Time in which spans gather before they are sent.
pub const OTLP_PAUSE: Duration = Duration::from_millis(200);
/// Time that a collector gets to answer.
pub const OTLP_POST_MAX: Duration = Duration::from_secs(10);
/// First pause before a batch is sent again.
pub const OTLP_RETRY_MIN: Duration = Duration::from_millis(500);
/// Longest such pause.
pub const OTLP_RETRY_MAX: Duration = Duration::from_secs(15);
/// Time after which a batch is given up on.
pub const OTLP_RETRY_TIME_MAX: Duration = Duration::from_secs(60);
/// Time that a shutdown waits for the last spans.
pub const OTLP_FLUSH_MAX: Duration = Duration::from_secs(5);
/// Bytes of a collector's answer that are read.
pub const OTLP_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Time between two marks by which the age of waiting messages is known.
pub const AGE_TICK: Duration = Duration::from_secs(1);
/// Such marks; with more of them every second one is forgotten.
pub const AGE_MARKS_MAX: usize = 1_024;
/// Apps with series of their own in metrics; further ones share one.
pub const METRIC_APPS_MAX: usize = 100;
/// Mailboxes that are looked at for the longest one; of more than these it is a sample.
pub const METRIC_MAILBOXES_MAX: usize = 100_000;
/// Open connections of the ingress listener.
pub const CONNECTIONS_MAX: usize = 8_192;
/// Open connections of the admin listener.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;
/// Connections beyond these that are being told so; further ones are closed without a word.
pub const REFUSED_CONNECTIONS_MAX: usize = 64;
/// Time that a refused connection gets to read its refusal.
pub const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);
/// Time that a TLS handshake gets.
pub const TLS_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// How often a certificate's files are looked at.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel holds until they are accepted.
pub const ACCEPT_BACKLOG: u32 = 1_024;
/// Streams of one HTTP/2 connection.
pub const HTTP2_STREAMS_MAX: u32 = 256;
/// Streams that an HTTP/2 client may reset before they are accepted; more close the connection.
pub const HTTP2_RESETS_PENDING_MAX: usize = 20;
/// Streams of one HTTP/2 connection that may be reset for the client's errors; more close it.
pub const HTTP2_ERRORS_MAX: usize = 1_024;
/// Bytes that one HTTP/2 stream buffers to send.
pub const HTTP2_SEND_BYTES_MAX: usize = 256 * 1024;
/// Time that open requests get at shutdown.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of an entity's body that an operator writes: all of a transaction in hex digits, twice over.
pub const ENTITY_BODY_BYTES_MAX: usize = 4 * TRANSACTION_BYTES_MAX;
/// Entities that operators write at once, over all connections.
pub const ADMIN_PUTS_MAX: usize = 4;
/// Bytes of entities after which a page of an export ends.
pub const EXPORT_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Rows of a page of a listing when the client does not say.
pub const PAGE_ROWS: usize = 100;
/// Most rows of one page of a listing.
pub const PAGE_ROWS_MAX: usize = 1_000;

const _: () = {
    assert!(2 * (NAME_BYTES_MAX + 1) <= u16::MAX as usize, "places in an address fit 16 bits");
    assert!(BODY_BYTES_MAX < BATCH_BYTES_MAX, "one message fits a batch");
    assert!(JOURNAL_SEGMENT_BYTES_MAX.is_multiple_of(4096), "segments are whole blocks");
    assert!(STATE_VALUE_BYTES_MAX <= TRANSACTION_BYTES_MAX, "one value fits a transaction");
    // What a reply adds to a transaction is bounded here, so that it need not be counted there.
    assert!(
        TRANSACTION_BYTES_MAX + REPLY_BYTES_MAX < BATCH_BYTES_MAX,
        "one transaction and the reply to its message fit a batch"
    );
    assert!(
        BODY_BYTES_MAX.div_ceil(3) * 4 + REPLY_FRAME_BYTES_MAX <= 2 * BODY_BYTES_MAX
            && BODY_BYTES_MAX + 2 * 6 * REPLY_MESSAGE_BYTES_MAX + REPLY_FRAME_BYTES_MAX
                <= 2 * BODY_BYTES_MAX,
        "a reply of each kind fits its bound, were every character of its texts escaped"
    );
    assert!(CALLBACK_TIME_MAX.as_secs() < DELAY_MAX.as_secs(), "a callback is a delayed message");
    assert!(
        VIEW_BYTES_CHECKPOINT < VIEW_BYTES_MAX,
        "a checkpoint starts before ingress is refused"
    );
    assert!(
        HANDLER_DEADLINE.as_millis() < CALL_WAIT_MAX.as_millis(),
        "a handler ends before its caller leaves"
    );
    assert!(
        STATE_VALUE_BYTES_MAX + STATE_KEY_BYTES_MAX < HOST_CALL_BYTES_MAX
            && BODY_BYTES_MAX + KEY_BYTES_MAX < HOST_CALL_BYTES_MAX,
        "one value and one message fit a host call"
    );
    assert!(STATE_VALUE_BYTES_MAX <= SCAN_BYTES_MAX, "one value fits a page");
    assert!(WARM_MEMORY_BYTES_MAX <= GUEST_MEMORY_BYTES_MAX, "a warm instance is a guest");
    assert!(
        WARM_MEMORY_BYTES_MAX <= WARM_BYTES_PER_WORKER_MAX,
        "a worker may keep one of any size"
    );
    assert!(HEAD_BYTES_MAX >= 8192, "hyper reads into no smaller buffer");
    assert!(HEAD_BYTES_MAX > 4 * (3 * KEY_BYTES_MAX + NAME_BYTES_MAX), "every key fits a head");
    assert!(PAGE_ROWS <= PAGE_ROWS_MAX, "a page is a page");
    assert!(APP_VERSIONS_READY + 2 < APP_VERSIONS_KEPT, "what is ready and what is served is kept");
    assert!(JOURNEY_CAUSES_MAX < JOURNEY_MESSAGES_MAX, "effects are shown too");
    assert!(HISTORY_CHUNK_TURNS < HISTORY_TURNS_MAX, "the newest turns are kept");
    assert!(MAILBOX_MESSAGES_MAX < PARTITION_MESSAGES_MAX, "one entity cannot fill its partition");
};

/// Time the command line waits for one answer of a host; longer than any wait that a host allows.
pub const CLIENT_TIME_MAX: Duration = Duration::from_secs(120);
/// Largest answer that the command line reads.
pub const CLIENT_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of an answer that is not a host's which the command line shows.
pub const FOREIGN_BODY_BYTES_SHOWN: usize = 200;
/// Wait of one `logs --follow` request.
pub const LOGS_FOLLOW_WAIT: Duration = Duration::from_secs(30);
/// Quiet time after a change to a source file before `dev` builds.
pub const WATCH_QUIET: Duration = Duration::from_millis(200);
/// Changes that wait between the file watcher and `dev`; more of them say nothing new.
pub const WATCH_EVENTS_MAX: usize = 1_024;
/// Longest time that changes in quick succession put off a build.
pub const WATCH_QUIET_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often a spinner turns.
pub const SPINNER_TICK: Duration = Duration::from_millis(120);

const _: () = {
    assert!(STATUS_WAIT_MAX.as_millis() < CLIENT_TIME_MAX.as_millis(), "waits end before clients");
    assert!(
        COMPILE_TIME_MAX.as_millis() < COMPILE_WAIT_MAX.as_millis()
            && COMPILE_WAIT_MAX.as_millis() < CLIENT_TIME_MAX.as_millis(),
        "deploys end before clients"
    );
};

/// Most connections that `bench` drives; each is an open file.
pub const BENCH_CONNECTIONS_MAX: usize = 512;
/// Largest head of an answer that `bench` reads.
pub const BENCH_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Calls under way at once while `bench` fills a folder with entities.
pub const BENCH_FILL_CALLERS: u64 = 1_024;
/// Rows of the table that `bench` measures the storage library with.
pub const BENCH_TABLE_ROWS: u64 = 100_000;
/// How often one `restart` row kills and starts a host.
pub const BENCH_RESTARTS: usize = 3;
/// How often `bench` looks at a server's memory, and the steps of its throughput curve.
pub const BENCH_TICK: Duration = Duration::from_millis(100);
/// How often `bench` asks whether a host is done.
pub const BENCH_LOOK: Duration = Duration::from_millis(5);
/// Longest latency that `bench` tells from longer ones.
pub const BENCH_LATENCY_MAX: Duration = Duration::from_secs(120);
/// Time that a server gets to be ready.
pub const BENCH_START_MAX: Duration = Duration::from_secs(30);
/// Time that a host gets to be done with what was queued.
pub const BENCH_DRAIN_MAX: Duration = Duration::from_secs(600);
/// Processors that others may use before a figure counts as disturbed.
pub const BENCH_QUIET_CORES: f64 = 0.2;
/// Share of processor time that a hypervisor may take before a figure counts as disturbed.
pub const BENCH_STEAL_PERCENT: f64 = 2.0;
