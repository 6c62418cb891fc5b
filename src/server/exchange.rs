//! `Exchange`: one request and its answer, between hyper and the API.
//!
//! Knows what has to be settled around every answer: what becomes of a body that nobody read, what is
//! counted, and the line that each request leaves in the log. Does not know what requests mean.

use std::convert::Infallible;
use std::future::Future;
use std::future::Ready;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use http::HeaderValue;
use http::Request;
use http::Response;
use http::Version;
use http::header::CONNECTION;
use http::header::EXPECT;
use http_body::Body as _;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use tokio_util::either::Either;

use crate::http::AccessNote;
use crate::http::Answered;
use crate::http::Api;
use crate::http::Body;
use crate::http::PeerInfo;
use crate::http::body;
use crate::http::body::Chunk;
use crate::http::body::Sending;
use crate::http::body::lane::Lane;
use crate::server::RequestBody;
use crate::server::access::HasBody;
use crate::server::access::Ledger;
use crate::server::access::Record;
use crate::server::request_body::Client;
use crate::server::request_body::Unread;

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers a request. What goes wrong is an answer too.
    fn respond(&self, request: Request<RequestBody>, peer: PeerInfo)
    -> impl Future<Output = Answered> + Send;

    /// Answers a request without a body where nothing has to be waited for; `None` has [`Service::respond`] answer it.
    fn at_once<B>(&self, _request: &Request<B>, _peer: PeerInfo) -> Option<Answered> {
        None
    }
}

impl Service for Api {
    fn respond(
        &self,
        request: Request<RequestBody>,
        peer: PeerInfo,
    ) -> impl Future<Output = Answered> + Send {
        Self::respond(self, request, peer)
    }

    fn at_once<B>(&self, request: &Request<B>, peer: PeerInfo) -> Option<Answered> {
        Self::at_once(self, request, peer)
    }
}

impl<F, A> Service for F
where
    F: Fn(Request<RequestBody>, PeerInfo) -> A + Send + Sync + 'static,
    A: Future<Output: Into<Answered>> + Send,
{
    async fn respond(&self, request: Request<RequestBody>, peer: PeerInfo) -> Answered {
        self(request, peer).await.into()
    }
}

/// An answer that is there.
pub(super) type Here = Ready<Result<Response<Answer>, Infallible>>;

/// An answer that is waited for.
pub(super) type Awaited = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

/// What the requests of one connection have in common.
#[derive(Debug)]
pub(super) struct Exchange<S> {
    pub(super) service: Arc<S>,
    pub(super) ledger: Arc<Ledger>,
    /// Where windows go; `None` for a connection that copies.
    pub(super) lane: Option<Lane>,
}

impl<S: Service> Exchange<S> {
    /// Answers one request. What has to be waited for is on the heap: it has several KiB, which hyper would move with
    /// every request and keep with every idle connection.
    pub(super) fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Either<Here, Awaited> {
        let mut record = self.ledger.begin();
        if request.body().is_end_stream()
            && let Some(Answered { response, note }) = self.service.at_once(&request, self.ledger.peer())
        {
            let (head, _) = request.into_parts();
            record.of(head.method, head.uri);
            return Either::Left(ready(Ok(self.send(response, note, record, None))));
        }
        record.of(request.method().clone(), request.uri().clone());
        Either::Right(Box::pin(Arc::clone(self).respond(request, record)))
    }

    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        record: Record,
    ) -> Result<Response<Answer>, Infallible> {
        let version = request.version();
        let client = if request.headers().contains_key(EXPECT) { Client::Waits } else { Client::Sends };
        let (head, incoming) = request.into_parts();
        let (body, rest) = RequestBody::new(incoming, self.ledger.received());
        let request = Request::from_parts(head, body);
        let Answered { mut response, note } = self.service.respond(request, self.ledger.peer()).await;
        let mut unread = None;
        if let Some(rest) = rest {
            if version >= Version::HTTP_2 {
                unread = rest.unread().map(Box::new);
            } else if !rest.settle(client).await {
                self.ledger.progress().left_unread();
                // Said so that the client does not send its next request into a connection that is being
                // closed.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        Ok(self.send(response, note, record, unread))
    }

    fn send(
        &self,
        response: Response<Body>,
        note: AccessNote,
        mut record: Record,
        unread: Option<Box<Unread>>,
    ) -> Response<Answer> {
        let (head, body) = response.into_parts();
        let sending = match &self.lane {
            Some(lane) => Sending::over(lane, body),
            None => Sending::copying(body),
        };
        record.answered(head.status, note, has_body(&sending));
        Response::from_parts(head, Answer { sending, record, unread })
    }
}

/// An answer's body, with the record that is closed when hyper is done with it.
#[derive(Debug)]
pub(super) struct Answer {
    sending: Sending,
    record: Record,
    /// What HTTP/2 would answer with a reset of the stream if it were dropped before the answer's end.
    unread: Option<Box<Unread>>,
}

impl http_body::Body for Answer {
    type Data = Chunk;
    type Error = body::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, body::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.sending).poll_frame(cx));
        if frame.is_none()
            && let Some(unread) = &mut this.unread
        {
            ready!(unread.poll(cx));
        }
        this.record.sent(frame.as_ref(), has_body(&this.sending));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.unread.is_none() && self.sending.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.sending.size_hint()
    }
}

fn has_body(sending: &Sending) -> HasBody {
    if http_body::Body::is_end_stream(sending) { HasBody::No } else { HasBody::Yes }
}
