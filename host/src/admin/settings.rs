//! An app's configuration and secrets over HTTP. Secrets come in and never go out: only their names are shown.

use http::StatusCode;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Admin;
use crate::edge::{self, Problem, Reply, body, path};
use crate::registry::{Registry, Secret};

impl Admin {
    /// `GET /admin/v1/apps/{app}/config`.
    pub(super) fn config(&self, app: &str) -> Result<Reply, Problem> {
        let app = self.named(app)?;
        let names: Vec<_> = app.secrets.names().collect();
        let shown = json!({"app": app.name, "config": app.config, "secrets": names});
        edge::json(StatusCode::OK, &shown)
    }

    /// `PATCH /admin/v1/apps/{app}/config`: a JSON merge patch.
    pub(super) async fn configure(&self, body: &mut Incoming, app: &str) -> Result<Reply, Problem> {
        let app = path::segment("app", app)?.into_owned();
        let bytes = body::read(body, body::Bounds::MESSAGE).await?;
        let patch: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::malformed(format!("the body is not JSON: {error}")))?;
        if !patch.is_object() {
            return Err(Problem::malformed("the body is an object: settings by name"));
        }
        let name = app.clone();
        let configuring = move |registry: &Registry| registry.configure(&name, &patch);
        let config = self.blocking(configuring).await?;
        edge::json(StatusCode::OK, &json!({"app": app, "config": config}))
    }

    /// `PUT /admin/v1/apps/{app}/secrets/{name}`: the body is the value.
    pub(super) async fn set_secret(
        &self,
        body: &mut Incoming,
        app: &str,
        name: &str,
    ) -> Result<Reply, Problem> {
        let bytes = body::read(body, body::Bounds::MESSAGE).await?;
        let secret = Secret::new(bytes.to_vec()).map_err(Problem::malformed)?;
        self.change_secret(app, name, Some(secret)).await
    }

    /// `DELETE /admin/v1/apps/{app}/secrets/{name}`.
    pub(super) async fn unset_secret(&self, app: &str, name: &str) -> Result<Reply, Problem> {
        self.change_secret(app, name, None).await
    }

    async fn change_secret(
        &self,
        app: &str,
        name: &str,
        secret: Option<Secret>,
    ) -> Result<Reply, Problem> {
        let app = path::segment("app", app)?.into_owned();
        let name = path::segment("secret", name)?.into_owned();
        let mut shown = json!({"app": app, "secret": name, "set": secret.is_some()});
        if secret.is_some() {
            shown["sealed"] = self.registry.seals().into();
        }
        let changing = move |registry: &Registry| registry.set_secret(&app, &name, secret);
        self.blocking(changing).await?;
        edge::json(StatusCode::OK, &shown)
    }
}
