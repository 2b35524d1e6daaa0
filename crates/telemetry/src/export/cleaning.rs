//! The last gate before spans leave the process.
//!
//! Owns: that no secret is in them, and that a broken export is told once. Must never: change what
//! the span measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::Status;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use crate::{names, redact};

/// Hands spans without secrets to the exporter inside.
#[derive(Debug)]
pub(crate) struct CleaningExporter<E> {
    inner: E,
    endpoint: String,
    state: Arc<ExportState>,
}

/// What the exporter and its owner know together.
#[derive(Debug, Default)]
pub(crate) struct ExportState {
    /// Whether the last export failed: an outage is told once.
    pub(crate) failing: AtomicBool,
    /// Whether the process ends and nobody wants to know any more.
    pub(crate) ending: AtomicBool,
}

impl<E> CleaningExporter<E> {
    pub(crate) fn new(inner: E, endpoint: &str, state: Arc<ExportState>) -> Self {
        let endpoint = redact::clean(endpoint).into_owned();
        Self { inner, endpoint, state }
    }
}

impl<E: SpanExporter> SpanExporter for CleaningExporter<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(clean_span);
        let result = self.inner.export(batch).await;
        let failed_before = self.state.failing.swap(result.is_err(), Ordering::Relaxed);
        if let Err(error) = &result
            && !failed_before
            && !self.state.ending.load(Ordering::Relaxed)
        {
            let endpoint = self.endpoint.as_str();
            tracing::warn!(endpoint, %error, "traces could not be sent; spans are lost until the collector answers");
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

fn clean_span(span: &mut SpanData) {
    clean_attributes(&mut span.attributes);
    for event in &mut span.events.events {
        clean_attributes(&mut event.attributes);
    }
    if let Status::Error { description } = &mut span.status {
        *description = redact::clean(description).into_owned().into();
    }
}

fn clean_attributes(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        let key = attribute.key.as_str();
        let is_wanted = names::CONTENT.contains(&key) && redact::captures_content();
        if redact::is_private(key) && !is_wanted {
            attribute.value = redact::MASK.into();
        } else if let Value::String(text) = &attribute.value {
            if let std::borrow::Cow::Owned(cleaned) = redact::clean(text.as_str()) {
                attribute.value = cleaned.into();
            }
        } else if let Value::Array(opentelemetry::Array::String(texts)) = &mut attribute.value {
            for text in texts {
                *text = redact::clean(text.as_str()).into_owned().into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use opentelemetry_sdk::error::OTelSdkError;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

    use super::*;

    #[derive(Debug, Default)]
    struct Collector {
        answers: Arc<AtomicBool>,
    }

    impl SpanExporter for Collector {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            let answers = self.answers.load(Ordering::Relaxed);
            answers.then_some(()).ok_or(OTelSdkError::InternalFailure("refused".into()))
        }
    }

    struct Count(Arc<AtomicUsize>);

    impl<S: tracing::Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn an_outage_is_told_once_and_the_end_is_silent() {
        let lines = Arc::new(AtomicUsize::new(0));
        let subscriber = tracing_subscriber::registry().with(Count(Arc::clone(&lines)));
        let _guard = tracing::subscriber::set_default(subscriber);
        let (collector, state) = (Collector::default(), Arc::new(ExportState::default()));
        let answers = Arc::clone(&collector.answers);
        let exporter = CleaningExporter::new(collector, "http://c", Arc::clone(&state));
        for (works, ends, lines_so_far) in [
            (false, false, 1),
            (false, false, 1),
            (true, false, 1),
            (false, false, 2),
            (true, true, 2),
            (false, true, 2),
        ] {
            answers.store(works, Ordering::Relaxed);
            state.ending.store(ends, Ordering::Relaxed);
            assert_eq!(exporter.export(Vec::new()).await.is_ok(), works);
            assert_eq!(lines.load(Ordering::Relaxed), lines_so_far);
        }
    }
}
