//! `Events`: what the server tells as it happens.

use bytes::Bytes;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio_util::task::AbortOnDropHandle;

use crate::peer::LocalError;

/// The largest event: a job that names ten thousand repositories.
const EVENT_LIMIT: usize = 4 * 1024 * 1024;
/// What ends an event.
const END: &[u8] = b"\n\n";
/// What stands before the data of one.
const DATA: &[u8] = b"data: ";

/// Server-sent events, one after the other.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    held: BytesMut,
    _connection: AbortOnDropHandle<Result<(), hyper::Error>>,
}

impl Events {
    pub(super) fn new(body: Incoming, connection: AbortOnDropHandle<Result<(), hyper::Error>>) -> Self {
        Self { body, held: BytesMut::new(), _connection: connection }
    }

    /// The data of the next event; `None` when there are no more.
    ///
    /// # Errors
    /// The connection broke, or an event is too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LocalError> {
        loop {
            if let Some(end) = self.held.windows(END.len()).position(|it| it == END) {
                let event = self.held.split_to(end + END.len()).freeze();
                let data = event.strip_prefix(DATA).and_then(|it| it.strip_suffix(END)).unwrap_or_default();
                return Ok(Some(event.slice_ref(data)));
            }
            if self.held.len() > EVENT_LIMIT {
                return Err(LocalError::Protocol("an event does not end".into()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(LocalError::Protocol(error.into())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.held.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
