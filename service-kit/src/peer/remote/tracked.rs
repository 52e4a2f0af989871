//! The body of a reply: as long as it streams, the call is under way.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};

use super::{
    breaker::Weight,
    endpoint::{Endpoint, InFlight},
};
use crate::peer::chain;

pub(super) struct Tracked {
    body: Incoming,
    endpoint: Arc<Endpoint>,
    _call: InFlight,
}

impl Tracked {
    pub(super) fn new(body: Incoming, endpoint: Arc<Endpoint>, call: InFlight) -> Self {
        Self {
            body,
            endpoint,
            _call: call,
        }
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Err(error))) = &frame {
            // What was passed on already can't be taken back, so the call is not made again here.
            self.endpoint.forget_instance();
            self.endpoint.failed(Weight::One, &chain(error));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
