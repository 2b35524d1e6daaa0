//! Each request is a span, a child of its caller's where a `traceparent` says which.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use journeyman_telemetry::{Relation, TraceContext, attach};
use tracing::{Instrument as _, field};

/// Answers the request within its span.
pub(crate) async fn trace(request: Request, next: Next) -> Response {
    let method = request.method().as_str();
    // The route, not the path: a name with ids in it names nothing.
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str);
    let span = tracing::info_span!(
        "http_request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
    );
    attach(&span, caller(&request), Relation::Child);
    async {
        let response = next.run(request).await;
        tracing::Span::current().record("http.response.status_code", response.status().as_u16());
        response
    }
    .instrument(span)
    .await
}

/// A header that is no trace context is as good as none.
fn caller(request: &Request) -> Option<TraceContext> {
    request.headers().get("traceparent")?.to_str().ok()?.parse().ok()
}
