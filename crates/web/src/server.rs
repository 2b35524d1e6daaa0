//! The API on a Unix socket.

use std::future::IntoFuture as _;
use std::io;
use std::time::Duration;

use axum::Extension;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::api::Api;

/// How long requests that are under way may take after a shutdown was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// Tells streams that have no end of their own that the server stops.
#[derive(Clone, Debug)]
pub(crate) struct Closing(pub(crate) CancellationToken);

/// Serves the API until `shutdown`: then nothing new is accepted, streams of events end at once,
/// and other requests get five seconds to end.
///
/// # Errors
/// The listener's.
pub async fn serve(
    api: Api,
    listener: UnixListener,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let router = api.router().layer(Extension(Closing(shutdown.clone())));
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.clone().cancelled_owned())
        .into_future();
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = served => served,
        () = overdue => {
            tracing::warn!("requests were under way for too long and are cut off");
            Ok(())
        }
    }
}
