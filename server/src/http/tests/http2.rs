//! What is special to HTTP/2.

use std::task::Poll;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::net::TcpStream;
use unseen_common::wire::problem::Problem;

use super::{Limits, start};

type Sender = SendRequest<Bytes>;

/// Sends a body to a route; gives the answer, and why the stream was reset if it was.
async fn post(sender: &Sender, body: Vec<u8>) -> (u16, Vec<u8>, Option<h2::Reason>) {
    let request = http::Request::post("http://nas.home/v1/auth/challenge")
        .header("content-type", "application/json")
        .header("content-length", body.len());
    let mut sender = sender.clone().ready().await.unwrap();
    let request = request.body(()).unwrap();
    let (answer, mut sending) = sender.send_request(request, false).unwrap();
    sending.send_data(body.into(), true).unwrap();
    let answer = answer.await.unwrap();
    let (head, mut body) = answer.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        bytes.extend_from_slice(&data.unwrap());
    }
    // What comes after another answer came after this one.
    let other = http::Request::get("http://nas.home/v1/server").body(()).unwrap();
    let mut sender = sender.ready().await.unwrap();
    let (other, _) = sender.send_request(other, true).unwrap();
    assert_eq!(other.await.unwrap().status(), 200);
    let reset = std::future::poll_fn(|cx| {
        Poll::Ready(match sending.poll_reset(cx) {
            Poll::Ready(reset) => reset.ok(),
            Poll::Pending => None,
        })
    });
    (head.status.as_u16(), bytes, reset.await)
}

#[tokio::test]
async fn who_sends_too_much_reads_the_refusal() {
    let running = start(Limits::default()).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (sender, connection) = client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    for length in [16_385, 65_536, 300_000, 1 << 20] {
        let (status, body, reset) = post(&sender, vec![b' '; length]).await;
        assert_eq!((status, reset), (413, None), "{length}");
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((problem.status, problem.code.as_str()), (413, "too-large"));
    }
    // That much is not taken.
    let (status, _, _) = post(&sender, vec![b' '; 4 << 20]).await;
    assert_eq!(status, 413);
    drop(sender);
    connection.await.unwrap().unwrap();
}
