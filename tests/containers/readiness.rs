//! What is started when it can be, and restarted when it must be, with real servers: postgres, redis, nginx, an application in
//! Python and a shell script. The configurations are those of `docker/web`, `docker/shop` and `docker/notify`, changed where a test says so.

use std::thread;
use std::time::Instant;

use crate::docker::{Container, DEADLINE, Docker, Request, Volume, config, docker, file};
use crate::{last_block, lines};

const WEB: &str = include_str!("../../docker/web/tinysup.toml");
const NOTIFY: &str = include_str!("../../docker/notify/tinysup.toml");
const SHOP: &str = include_str!("../../docker/shop/tinysup.toml");

/// What postgres says as its last word after an orderly stop, and at its start after any other.
const SHUT_DOWN: &str = "database system is shut down";
const NOT_SHUT_DOWN: &str = "not properly shut down";

// ---- the order ----

#[test]
fn an_application_starts_in_order_and_finds_its_data_again() {
    let Some(docker) = docker() else { return };
    let data = Volume::new();
    let web = web(docker, &data, &[]);
    // Asked from the first moment on: whoever answers at all has everything behind it.
    assert_eq!(visit(&web), (OK.into(), "visits: 1\n".into()));
    web.wait_for("all 5 services are up");
    web.stop();
    let end = web.finish();
    // It would be 137 had anybody been waited for in vain.
    assert_eq!(end.code, 0, "{end:#?}");
    // Not "syncing data to disk ... ok": the end of that comes apart where a disk takes longer than a second.
    let done = "Success. You can now start the database server using:";
    assert_eq!(lines(&end.stdout, "initdb", done), 1, "{end:#?}");
    in_order(
        &end.stderr,
        &[
            "tinysup | initdb: code 0",
            "tinysup | db is ready",
            "tinysup | migrate: code 0",
            "tinysup | app is ready",
            "tinysup | nginx is ready",
            "tinysup | all 5 services are up",
            "tinysup | stopping (SIGTERM): nginx, app, db",
            SHUT_DOWN,
            "tinysup | stopped in",
        ],
    );

    // The next container is killed, and started again with all that lies about of its first life.
    let web = self::web(docker, &data, &[]);
    assert_eq!(visit(&web), (OK.into(), "visits: 2\n".into()));
    web.signal("KILL");
    assert_eq!(web.wait(), 137);
    let end = web.finish();
    assert!(!end.stdout.contains("initdb | ") && !end.stderr.contains(NOT_SHUT_DOWN), "{end:#?}");
    web.start_again();
    assert_eq!(visit(&web), (OK.into(), "visits: 3\n".into()));
    web.stop();
    let end = web.finish();
    assert!(end.code == 0 && !end.stdout.contains("initdb | "), "{end:#?}");
    in_order(&end.stderr, &[NOT_SHUT_DOWN, "tinysup | db is ready", SHUT_DOWN]);
}

#[test]
fn a_request_that_waits_for_the_database_is_answered_before_anything_behind_it_stops() {
    let Some(docker) = docker() else { return };
    let data = Volume::new();
    // The application is tied to the database by the migration alone, which is done long before the stop.
    let plan = changed(WEB, r#"depends_on = ["db", "migrate"]"#, r#"depends_on = ["migrate"]"#);
    let patient = "shutdown_timeout = \"40s\"\n[defaults]\nkill_timeout = \"40s\"\n";
    let web = web(docker, &data, &["--volume", &config(&(patient.to_owned() + &plan))]);
    assert_eq!(visit(&web).0, OK);
    lock_table(&web);
    let answer = thread::scope(|scope| {
        let visiting = scope.spawn(|| visit(&web));
        until("a visit that waits", || sql(&web, "SELECT count(*) FROM pg_locks WHERE NOT granted") == "1");
        web.signal("TERM");
        web.wait_for("stopping (SIGTERM): nginx, app, db");
        unlock_table(&web);
        visiting.join().unwrap()
    });
    assert_eq!(answer, (OK.into(), "visits: 2\n".into()));
    let end = web.finish();
    assert!(end.code == 0 && end.stderr.contains(SHUT_DOWN), "{end:#?}");
}

#[test]
fn a_migration_that_fails_ends_the_container_with_its_code_and_an_orderly_stop() {
    let Some(docker) = docker() else { return };
    let data = Volume::new();
    let schema = format!("{}:/srv/schema.sql:ro", file("SELECT 1 / 0;\n").display());
    let end = web(docker, &data, &["--volume", &schema]).finish();
    // psql has 3 for a script that failed.
    assert_eq!(end.code, 3, "{end:#?}");
    let obituary = last_block(&end.stderr);
    for wanted in ["migrate failed 3 times", "max_restarts = 2", "division by zero", "db stopped as asked"] {
        assert!(obituary.contains(wanted), "no {wanted:?} in the last block:\n{}", end.stderr);
    }
    in_order(&end.stderr, &["tinysup | db is ready", "division by zero", SHUT_DOWN, "CONTAINER STOPPED"]);
    assert!(!end.stderr.contains("app is") && !end.stderr.contains("nginx is"), "{end:#?}");

    let web = web(docker, &data, &[]);
    assert_eq!(visit(&web), (OK.into(), "visits: 1\n".into()));
    web.stop();
    let end = web.finish();
    assert!(end.code == 0 && !end.stderr.contains(NOT_SHUT_DOWN), "{end:#?}");
}

#[test]
fn a_stop_during_the_start_breaks_nothing_and_starts_nothing_more() {
    let Some(docker) = docker() else { return };
    let data = Volume::new();
    // Just before what has been made gets its name.
    let plan = changed(WEB, "&& mv", "&& echo half of it && sleep 3600 && mv");
    let first = web(docker, &data, &["--volume", &config(&plan)]);
    first.wait_for("initdb | half of it");
    first.stop();
    let end = first.finish();
    assert!(end.code == 0 && !end.stderr.contains("db is ready"), "{end:#?}");

    let schema = file("\\echo it takes its time\nSELECT pg_sleep(3600);\n");
    let second = web(docker, &data, &["--volume", &format!("{}:/srv/schema.sql:ro", schema.display())]);
    second.wait_for("it takes its time");
    second.stop();
    let end = second.finish();
    assert_eq!(end.code, 0, "{end:#?}");
    in_order(&end.stderr, &["tinysup | db is ready", "tinysup | stopping (SIGTERM): migrate, db", SHUT_DOWN]);
    assert!(!end.stderr.contains("app is") && !end.stderr.contains("nginx is"), "{end:#?}");

    let third = web(docker, &data, &[]);
    assert_eq!(visit(&third), (OK.into(), "visits: 1\n".into()));
    third.stop();
    let end = third.finish();
    assert!(end.code == 0 && !end.stderr.contains(NOT_SHUT_DOWN), "{end:#?}");
}

// ---- what is not well ----

#[test]
fn a_health_endpoint_that_hangs_is_restarted_until_the_budget_is_spent() {
    let Some(docker) = docker() else { return };
    let data = Volume::new();
    let plan = changed(
        WEB,
        r#"interval = "10s", timeout = "2s" }"#,
        "interval = \"500ms\", timeout = \"2s\", retries = 2 }\nready = \"tcp:8000\"\nmax_restarts = 1\nrestart_delay = 0",
    );
    let web = web(docker, &data, &["--volume", &config(&plan)]);
    assert_eq!(visit(&web).0, OK);
    // The endpoint reads the table: as in life, it is not the application's own fault, and a restart does not help.
    lock_table(&web);
    let end = web.finish();
    assert_eq!(end.code, 1, "{end:#?}");
    in_order(
        &end.stderr,
        &[
            "tinysup | all 5 services are up",
            "tinysup | app: health check missed, 1/2: no answer within 2 s",
            "tinysup | app: unhealthy: 2 missed health checks, the last: no answer within 2 s; stopping it",
            "as it was unhealthy; restart 1/1 now",
            "tinysup | app is ready",
            "tinysup | app: health check missed, 1/2",
            "as it was unhealthy; failed for good",
            "tinysup | stopping (app has failed for good): nginx, db",
            SHUT_DOWN,
            "CONTAINER STOPPED: app failed twice",
        ],
    );
    for (name, count) in [("db", 1), ("app", 2), ("nginx", 1)] {
        assert_eq!(end.stderr.matches(&format!("{name} is ready")).count(), count, "{name}: {end:#?}");
    }
    assert!(last_block(&end.stderr).contains("unhealthy: 2 missed health checks"), "{end:#?}");
}

#[test]
fn one_that_is_well_again_in_time_is_left_alone() {
    let Some(docker) = docker() else { return };
    let data = Volume::new();
    let plan =
        changed(WEB, r#"interval = "10s", timeout = "2s" }"#, r#"interval = "500ms", retries = 1000 }"#);
    let web = web(docker, &data, &["--volume", &config(&plan)]);
    assert_eq!(visit(&web).0, OK);
    sql(&web, "ALTER TABLE visits RENAME TO elsewhere");
    web.wait_for("app: health check missed, 2/1000: HTTP status 503");
    sql(&web, "ALTER TABLE elsewhere RENAME TO visits");
    let seen = web.wait_for("app: healthy again after");
    assert!(!seen.join("\n").contains("restart"), "{seen:#?}");
    assert_eq!(visit(&web), (OK.into(), "visits: 2\n".into()));
}

#[test]
fn who_is_never_ready_is_told_where_it_listens() {
    let Some(docker) = docker() else { return };
    let plan = changed(
        SHOP,
        "redis-server /etc/redis/redis.conf --supervised systemd",
        "redis-server /etc/redis/redis.conf --port 6380",
    );
    for (ready, told) in [
        (
            r#"ready = { test = "tcp:6379", timeout = "4s" }"#,
            "(ready = tcp:6379): nobody listens on 127.0.0.1:6379",
        ),
        // The other mistake: it was not told to speak.
        (r#"ready = { test = "notify", timeout = "4s" }"#, "(ready = notify)"),
    ] {
        let plan = changed(&plan, r#"ready = "notify""#, &format!("max_restarts = 0\n{ready}"));
        let end = docker.start(&["--volume", &config(&plan)], "shop", &[]).finish();
        assert_eq!(end.code, 1, "{end:#?}");
        let failing = end.stderr.lines().find(|line| line.contains("redis: not ready after"));
        let failing = failing.unwrap_or_else(|| panic!("not told: {end:#?}"));
        for wanted in [told, "listens on 127.0.0.1:6380", "nginx waits for it"] {
            assert!(failing.contains(wanted), "no {wanted:?}: {failing}");
        }
        let obituary = last_block(&end.stderr);
        assert!(obituary.contains("CONTAINER STOPPED: redis failed"), "{end:#?}");
        assert!(obituary.contains("127.0.0.1:6380"), "{end:#?}");
        // It was stopped as it should be, and nobody started on it.
        assert!(end.stdout.contains("User requested shutdown"), "{end:#?}");
        assert!(!end.stderr.contains("nginx is"), "{end:#?}");
    }
}

#[test]
fn who_wants_it_is_restarted_with_the_database() {
    let Some(docker) = docker() else { return };
    let data = Volume::new();
    let plan = changed(
        WEB,
        r#"depends_on = ["db", "migrate"]"#,
        r#"depends_on = { db = { condition = "ready", restart = true }, migrate = "completed" }"#,
    );
    let web = web(docker, &data, &["--volume", &config(&plan)]);
    assert_eq!(visit(&web).0, OK);
    web.wait_for("all 5 services are up");
    let killed = web.exec(&["sh", "-c", "kill -KILL $(head -n 1 /data/db/postmaster.pid)"]);
    assert_eq!(killed.code, 0, "{killed:#?}");
    web.wait_for_nth("app is ready", 2);
    assert_eq!(visit(&web), (OK.into(), "visits: 2\n".into()));
    web.stop();
    let end = web.finish();
    assert_eq!(end.code, 0, "{end:#?}");
    in_order(
        &end.stderr,
        &[
            "tinysup | all 5 services are up",
            "tinysup | db: code 137, SIGKILL",
            "tinysup | app is restarted with db",
            NOT_SHUT_DOWN,
            "tinysup | db is ready",
            "tinysup | app is ready",
            "tinysup | stopping",
            SHUT_DOWN,
        ],
    );
    // nginx stays up, and the migration is done once and for all.
    for (told, count) in
        [("nginx is ready", 1), ("migrate: code 0", 1), ("app is ready", 2), ("db is ready", 2)]
    {
        assert_eq!(end.stderr.matches(told).count(), count, "{told}: {end:#?}");
    }
}

// ---- sd_notify ----

#[test]
fn redis_says_itself_when_it_is_ready() {
    let Some(docker) = docker() else { return };
    let shop = docker.start(&[], "shop", &[]);
    shop.wait_for("all 2 services are up");
    shop.stop();
    let end = shop.finish();
    assert_eq!(end.code, 0, "{end:#?}");
    in_order(&end.stderr, &["tinysup | redis is ready", "tinysup | nginx is ready"]);
}

#[test]
fn a_shell_script_says_itself_when_it_is_ready() {
    let Some(docker) = docker() else { return };
    let container = docker.start(&[], "notify", &[]);
    // systemd-notify waits until it has been heard; the script goes on after that.
    container.wait_for("worker | announced");
    container.wait_for("all 2 services are up");
    container.stop();
    let end = container.finish();
    assert_eq!(end.code, 0, "{end:#?}");
    in_order(&end.stdout, &["worker | preparing", "after | the worker is ready"]);
    in_order(&end.stderr, &["tinysup | worker is ready", "tinysup | after: code 0"]);
}

#[test]
fn who_is_heard_does_not_depend_on_what_the_container_may_do() {
    let Some(docker) = docker() else { return };
    let mount = config(&changed(NOTIFY, "user = \"nobody\"\n", ""));
    let locked_down = [
        "--read-only",
        "--user=12345",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--network=none",
        "--memory=64m",
        "--ulimit=nofile=24",
    ];
    for kind in [&["--init"][..], &["--read-only", "--tmpfs=/run", "--tmpfs=/tmp:noexec"], &locked_down] {
        let container = docker.start(&[&["--volume", mount.as_str()], kind].concat(), "notify", &[]);
        container.wait_for("worker | announced");
        container.wait_for("all 2 services are up");
        container.stop();
        assert_eq!(container.wait(), 0, "{kind:?}");
    }
}

#[test]
fn who_gives_up_root_before_it_is_ready_is_heard() {
    let Some(docker) = docker() else { return };
    // As mosquitto and unbound do it by themselves.
    let plan = r#"
        [services.worker]
        command = "setpriv --reuid=nobody --regid=nogroup --clear-groups /worker.sh"
        ready = "notify"
    "#;
    let container = docker.start(&["--volume", &config(plan)], "notify", &[]);
    container.wait_for("worker is ready");
    container.stop();
    assert_eq!(container.wait(), 0);
}

#[test]
fn a_stranger_does_not_make_a_service_ready() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [services.worker]
        command = "echo at $NOTIFY_SOCKET; exec sleep infinity"
        shell = true
        ready = "notify"
    "#;
    let container = docker.start(&["--volume", &config(plan)], "notify", &[]);
    let seen = container.wait_for("worker | at ");
    let address = seen.last().and_then(|line| line.split(" at ").nth(1)).expect("an address");
    // Not of the service, though of its container and of its user. It returns when it has been taken in.
    let socket = format!("NOTIFY_SOCKET={address}");
    let said = container.exec(&["env", &socket, "systemd-notify", "--ready"]);
    assert_eq!(said.code, 0, "{said:#?}");
    container.stop();
    let end = container.finish();
    assert!(end.code == 0 && !end.stderr.contains("ready"), "{end:#?}");
}

#[test]
fn a_shell_script_whose_watchdog_falls_silent_is_ended() {
    let Some(docker) = docker() else { return };
    let plan = r#"
        [services.worker]
        command = "systemd-notify --ready; systemd-notify WATCHDOG=1; echo alive; exec sleep infinity"
        shell = true
        ready = "notify"
        watchdog = "4s"
        max_restarts = 0
    "#;
    let end = docker.start(&["--volume", &config(plan)], "notify", &[]).finish();
    assert_eq!(end.code, 1, "{end:#?}");
    assert_eq!(lines(&end.stdout, "worker", "alive"), 1, "{end:#?}");
    in_order(&end.stderr, &["worker is ready", "worker: no WATCHDOG=1 for 4 s: SIGABRT"]);
    assert!(last_block(&end.stderr).contains("CONTAINER STOPPED: worker failed"), "{end:#?}");
}

// ---- asking and reading ----

const OK: &str = "HTTP/1.1 200 OK";

/// The image of `docker/web` with its data in that volume.
fn web(docker: &Docker, data: &Volume, options: &[&str]) -> Container {
    let data = format!("{}:/data", data.0);
    docker.start(&[&["--publish", "127.0.0.1::8080", "--volume", &data], options].concat(), "web", &[])
}

/// The first answer that it gives to anybody who asks for its page.
fn visit(web: &Container) -> (String, String) {
    Request::send(&web.published(8080), "/").answer()
}

/// A configuration with one part changed, which must be there.
fn changed(plan: &str, from: &str, to: &str) -> String {
    assert_eq!(plan.matches(from).count(), 1, "{from}:\n{plan}");
    plan.replace(from, to)
}

fn sql(web: &Container, query: &str) -> String {
    let command = [&AS_POSTGRES[..], &["--tuples-only", "--no-align", "--command", query]].concat();
    let done = web.exec(&command);
    assert_eq!(done.code, 0, "{query}: {done:#?}");
    done.stdout.trim().to_owned()
}

const AS_POSTGRES: [&str; 6] = ["runuser", "-u", "postgres", "--", "psql", "--quiet"];
const LOCKS: &str = "SELECT pid FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted \
                     AND relation = 'visits'::regclass";

/// Lets a stranger have the table for himself: whoever reads it waits.
fn lock_table(web: &Container) {
    let hold = ["--command", "BEGIN", "--command", "LOCK TABLE visits", "--command", "SELECT pg_sleep(3600)"];
    web.exec_detached(&[&AS_POSTGRES[..], &hold].concat());
    until("a locked table", || !sql(web, LOCKS).is_empty());
}

fn unlock_table(web: &Container) {
    sql(web, &format!("SELECT pg_terminate_backend(pid) FROM ({LOCKS}) AS holder"));
}

/// Asks again and again until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "no {what} in time");
    }
}

/// That these are found one after the other.
#[track_caller]
fn in_order(output: &str, wanted: &[&str]) {
    let mut rest = output;
    for wanted in wanted {
        let Some(at) = rest.find(wanted) else { panic!("no {wanted:?} where it is due in:\n{output}") };
        rest = &rest[at + wanted.len()..];
    }
}
