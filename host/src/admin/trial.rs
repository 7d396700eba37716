//! What may be tried of an app, for those who may call and need not see anything else: its public handlers, as their
//! component describes them. The trying itself is ingress's. Invariant: internal handlers are not among them.

use http::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use super::apps::unknown_app;
use crate::access::Caller;
use crate::edge::{self, Problem, Reply, path};
use crate::registry::App;

impl Admin {
    /// `GET /admin/v1/try`.
    pub(super) fn try_apps(&self, caller: &Caller) -> Result<Reply, Problem> {
        let apps = self.registry.apps();
        let names = apps.iter().map(|app| &app.name).filter(|name| caller.sees(name));
        edge::json(StatusCode::OK, &json!({"apps": names.collect::<Vec<_>>()}))
    }

    /// `GET /admin/v1/try/{app}`.
    pub(super) fn try_app(&self, app: &str) -> Result<Reply, Problem> {
        let name = path::segment("app", app)?;
        let sides = self.registry.sides(&name);
        if sides.is_empty() {
            return Err(unknown_app(&name));
        }
        let versions: Vec<_> = sides.iter().map(|(app, percent)| offered(app, *percent)).collect();
        edge::json(StatusCode::OK, &json!({"app": name, "versions": versions}))
    }
}

/// What a version offers to callers, and how much of the entities are on it.
fn offered(app: &App, percent: u8) -> Value {
    let mut types = app.contract.document["entities"].clone();
    for kind in types.as_array_mut().into_iter().flatten() {
        if let Some(handlers) = kind["handlers"].as_array_mut() {
            handlers.retain(|handler| handler["kind"] != "internal");
        }
    }
    json!({"version": app.version.to_string(), "percent": percent, "entities": types})
}
