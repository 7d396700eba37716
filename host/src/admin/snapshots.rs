//! Snapshots of the data folder: making, listing, removing. One is made at a time, on a blocking thread; calls go on
//! meanwhile, deploys wait for the short part in which the apps are copied.

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use jiff::Timestamp;
use serde_json::json;

use super::Admin;
use crate::backup::BackupError;
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, path};
use crate::metrics;

impl Admin {
    /// `GET /admin/v1/snapshots`.
    pub(super) async fn snapshots(&self) -> Result<Reply, Problem> {
        let backups = self.backups.clone();
        let all = aside(move || backups.list()).await?;
        edge::json(StatusCode::OK, &json!({"snapshots": all}))
    }

    /// `POST /admin/v1/snapshots?name=NAME`.
    pub(super) async fn snapshot(&self, parts: &Parts) -> Result<Reply, Problem> {
        let mut params = Params::new(parts.uri.query())?;
        let name = params.text("name")?;
        params.finish("a snapshot takes name")?;
        let name = match name {
            Some(name) => name.into_owned(),
            None => named_by_time(self.clock.now_ms()),
        };
        // An error would mean that a semaphore was closed, and nothing closes them.
        let closed = |error: tokio::sync::AcquireError| Problem::internal(error.to_string());
        let _turn = self.copies.acquire().await.map_err(closed)?;
        let backups = self.backups.clone();
        let mut draft = aside(move || backups.begin(&name)).await?;
        let cuts = self.router.cuts().await?;
        let draft = aside(move || draft.states(&cuts, &|_| ()).map(|()| draft)).await?;
        let _deploys = self.deploys.acquire().await.map_err(closed)?;
        let clock = Arc::clone(&self.clock);
        let kept = aside(move || draft.finish(&*clock)).await?;
        self.look_at_snapshots().await;
        edge::json(StatusCode::CREATED, &kept)
    }

    /// `DELETE /admin/v1/snapshots/{name}`.
    pub(super) async fn snapshot_remove(&self, name: &str) -> Result<Reply, Problem> {
        let name = path::segment("name", name)?.into_owned();
        let (backups, shown) = (self.backups.clone(), json!({"name": name, "status": "removed"}));
        aside(move || backups.remove(&name)).await?;
        self.look_at_snapshots().await;
        edge::json(StatusCode::OK, &shown)
    }

    /// Tells metrics of the newest one; not when they cannot be read, which whoever lists them is told.
    pub(super) async fn look_at_snapshots(&self) {
        let backups = self.backups.clone();
        if let Ok(all) = aside(move || backups.list()).await {
            let newest = all.iter().map(|kept| kept.created_at_ms).max();
            metrics::newest_snapshot(newest.unwrap_or_default());
        }
    }
}

/// Runs what blocks where it may.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| refused(&error)),
        Err(error) => {
            tracing::error!(%error, "a snapshot panicked");
            Err(Problem::internal("the snapshot failed within the host; there is none"))
        }
    }
}

fn refused(error: &BackupError) -> Problem {
    let detail = error.to_string();
    match error {
        BackupError::Name(_) => Problem::malformed(detail),
        BackupError::Exists(_) => Problem::new(StatusCode::CONFLICT, "snapshot_exists", detail),
        BackupError::Unknown(_) => Problem::not_found("unknown_snapshot", detail),
        _ => {
            tracing::error!(%error, "a snapshot failed");
            Problem::internal(detail)
        }
    }
}

/// Such as `2026-05-01T12-30-00Z`, which sorts by time and suits every file system.
fn named_by_time(now_ms: u64) -> String {
    let at = Timestamp::from_millisecond(now_ms.cast_signed()).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H-%M-%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_without_a_name_is_named_by_its_time() {
        assert_eq!(named_by_time(1_777_638_600_123), "2026-05-01T12-30-00Z");
    }

    #[test]
    fn refused_snapshots_have_their_status_and_code() {
        for (error, status, code) in [
            (BackupError::Name("/".into()), 400, "malformed"),
            (BackupError::Exists("a".into()), 409, "snapshot_exists"),
            (BackupError::Unknown("a".into()), 404, "unknown_snapshot"),
            (BackupError::Damaged { file: "f".into(), problem: "p".into() }, 500, "internal"),
        ] {
            let problem = refused(&error);
            assert_eq!((problem.status().as_u16(), problem.code()), (status, code));
        }
    }
}
