//! What is special to HTTP/2.

use std::task::Poll;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{self, SendRequest};
use tokio::net::TcpStream;
use unseen_common::wire::problem::Problem;

use super::{Limits, start};

type Sender = SendRequest<Bytes>;

/// Sends a body to a route, the second half of it once the server has answered something else;
/// gives the answer, and whether the stream was reset before it was sent.
async fn post(sender: &Sender, body: Vec<u8>) -> (u16, Vec<u8>, bool) {
    let request = http::Request::post("http://nas.home/v1/auth/challenge")
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(());
    let mut sender = sender.clone().ready().await.unwrap();
    let (answer, mut sending) = sender.send_request(request.unwrap(), false).unwrap();
    let mut first = Bytes::from(body);
    let rest = first.split_off(first.len() / 2);
    sending.send_data(first, false).unwrap();
    let other = http::Request::get("http://nas.home/v1/server").body(()).unwrap();
    let mut sender = sender.ready().await.unwrap();
    let (other, _) = sender.send_request(other, true).unwrap();
    assert_eq!(other.await.unwrap().status(), 200);
    let reset = is_reset(&mut sending).await || sending.send_data(rest, true).is_err();
    let (head, mut body) = answer.await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        bytes.extend_from_slice(&data.unwrap());
    }
    (head.status.as_u16(), bytes, reset)
}

async fn is_reset(sending: &mut SendStream<Bytes>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(sending.poll_reset(cx).is_ready())).await
}

#[tokio::test]
async fn who_sends_too_much_reads_the_refusal() {
    let running = start(Limits::default()).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (sender, connection) = client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    for length in [16_385, 65_536, 300_000, 1 << 20] {
        let (status, body, reset) = post(&sender, vec![b' '; length]).await;
        assert_eq!((status, reset), (413, false), "{length}");
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((problem.status, problem.code.as_str()), (413, "too-large"));
    }
    drop(sender);
    connection.await.unwrap().unwrap();
}
