//! Tests of the table of routes: every path finds its row, and no two rows are the same. Invariant: a route that is found
//! by nobody fails here.

use super::*;

#[test]
fn paths_find_their_routes() {
    for (method, path, id, parts) in [
        (Method::GET, "/admin/v1/health", Id::Health, ["", "", "", ""]),
        (Method::GET, "/admin/v1/me", Id::Me, ["", "", "", ""]),
        (Method::GET, "/admin/v1/try", Id::TryApps, ["", "", "", ""]),
        (Method::GET, "/admin/v1/try/bank", Id::TryApp, ["bank", "", "", ""]),
        (Method::GET, "/admin/v1/apps", Id::Apps, ["", "", "", ""]),
        (Method::GET, "/admin/v1/apps/bank", Id::App, ["bank", "", "", ""]),
        (Method::PUT, "/admin/v1/apps/bank", Id::Deploy, ["bank", "", "", ""]),
        (Method::GET, "/admin/v1/apps/bank/logs", Id::Logs, ["bank", "", "", ""]),
        (Method::GET, "/admin/v1/entities/bank/account", Id::Entities, ["bank", "account", "", ""]),
        (Method::GET, "/admin/v1/entities/b/a/a%2Fb", Id::Entity, ["b", "a", "a%2Fb", ""]),
        (Method::DELETE, "/admin/v1/dead/msg_1", Id::DeadDrop, ["msg_1", "", "", ""]),
        (Method::POST, "/admin/v1/dead/msg_1/retry", Id::DeadRetry, ["msg_1", "", "", ""]),
        (Method::POST, "/admin/v1/dead/retry", Id::DeadRetryAll, ["", "", "", ""]),
        (Method::PUT, "/admin/v1/entities/b/a/k", Id::EntityPut, ["b", "a", "k", ""]),
        (Method::DELETE, "/admin/v1/timers/b/a/k", Id::TimerCancel, ["b", "a", "k", ""]),
    ] {
        let found = find(&method, path).expect(path);
        assert_eq!((found.route.id, found.parts), (id, parts), "{path}");
    }
    for path in [
        "/",
        "/admin/v1",
        "/admin/v1/",
        "/admin/v2/health",
        "/v1/health",
        "/admin/v1/health/",
        "/admin/v1/apps/bank/log",
        "/admin/v1/apps/bank/logs/x",
        "/admin/v1/entities/a/b/c/d",
        "/admin/v1/try/a/b/c",
        "/admin/v1/entities/a/b/c/d/e",
        "/admin/v1/dead/msg_1/retry/now",
    ] {
        assert_eq!(find(&Method::GET, path).expect_err(path).code(), "unknown_route");
    }
    let problem = find(&Method::POST, "/admin/v1/dead/msg_1").expect_err("a method");
    assert_eq!(problem.status(), http::StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn no_two_rows_are_the_same_route() {
    for (at, route) in ROUTES.iter().enumerate() {
        for other in &ROUTES[at + 1..] {
            assert_ne!(route.id, other.id);
            assert!(route.method != other.method || route.path != other.path, "{}", route.path);
        }
        assert!(route.path.split('/').filter(|part| part.starts_with('{')).count() <= PARTS_MAX);
    }
}
