//! Whatever a server replies, it's read or refused, and what is made of it stays within bounds.

use std::collections::HashMap;

use super::*;
use crate::fuzz::Input;

/// A frame of any kind; few levels deep, as the decoder has them.
fn frame(input: &mut Input<'_>, depth: u8) -> Frame {
    let attributes = None;
    let data = |input: &mut Input<'_>| Bytes::copy_from_slice(input.bytes());
    let many = |input: &mut Input<'_>| (0..input.byte() % 8).map(|_| frame(input, depth - 1)).collect::<Vec<_>>();
    match input.byte() % if depth == 0 { 8 } else { 11 } {
        0 => Frame::BlobString { data: data(input), attributes },
        1 => Frame::SimpleString { data: data(input), attributes },
        2 => Frame::SimpleError { data: input.text().into(), attributes },
        3 => Frame::BlobError { data: data(input), attributes },
        4 => Frame::Number { data: input.number(), attributes },
        5 => Frame::Number { data: i64::from(input.byte()), attributes },
        6 => Frame::Boolean { data: input.byte().is_multiple_of(2), attributes },
        7 => Frame::Null,
        8 => Frame::Array { data: many(input), attributes },
        9 => Frame::Push { data: many(input), attributes },
        _ => {
            let (keys, values) = (many(input), many(input));
            // The decoder refuses other keys.
            let members = keys.into_iter().zip(values).filter(|(key, _)| is_key(key));
            Frame::Map { data: HashMap::from_iter(members), attributes }
        }
    }
}

/// Whether the decoder takes it for the key of a map.
fn is_key(frame: &Frame) -> bool {
    matches!(
        frame,
        Frame::BlobString { .. } | Frame::SimpleString { .. } | Frame::Number { .. } | Frame::Boolean { .. }
    )
}

/// A map of a cluster, most of whose parts are right.
fn slots(input: &mut Input<'_>) -> Frame {
    let attributes = None;
    let array = |data| Frame::Array { data, attributes: None };
    let ranges = (0..input.byte() % 16).map(|_| {
        let mut range = vec![frame(input, 0), frame(input, 0)];
        if !input.byte().is_multiple_of(4) {
            let slot = |input: &mut Input<'_>| i64::from(u16::from_le_bytes([input.byte(), input.byte()])) - 1;
            range = vec![
                Frame::Number { data: slot(input), attributes: None },
                Frame::Number { data: slot(input), attributes: None },
            ];
        }
        for _ in 0..input.byte() % 4 {
            let host = Frame::BlobString { data: Bytes::copy_from_slice(input.bytes()), attributes: None };
            range.push(match input.byte() % 4 {
                0 => frame(input, 2),
                _ => array(vec![host, Frame::Number { data: input.number() % 70_000, attributes: None }]),
            });
        }
        array(range)
    });
    Frame::Array { data: ranges.collect(), attributes }
}

/// How many elements the second part of an array has.
fn elements_of_second(frame: &Frame) -> usize {
    let Frame::Array { data, .. } = frame else { return 0 };
    let Some(Frame::Array { data, .. }) = data.get(1) else { return 0 };
    data.len()
}

/// 200 characters, each of which may be escaped (`\u{10ffff}`), and an ellipsis; longer than any address.
const LONGEST_SHOWN: usize = 200 * 10 + 1;

fn asked() -> Address {
    Address::Tcp { host: "asked".into(), port: 7000 }
}

/// A host that is shown and connected to.
fn assert_plain(address: &Address) {
    let Address::Tcp { host, .. } = address else { panic!("a server names no socket: {address:?}") };
    assert!(!host.is_empty() && host.len() <= 255 && host.bytes().all(|byte| byte.is_ascii_graphic()), "{host:?}");
}

#[test]
fn any_reply_is_read_or_refused() {
    bolero::check!().for_each(|data: &[u8]| {
        let mut input = Input::new(data);
        let reply = frame(&mut input, 4);
        let _ = (bytes(reply.clone()), number(&reply), text(&reply), script_reply(reply.clone()));
        let _ = (hello_field(&reply, "version"), hello_field(&reply, "role"), checked(reply.clone(), &Mask::default()));
        if let Ok((_, keys)) = scan_page(reply.clone()) {
            assert!(keys.len() <= elements_of_second(&reply), "a page has the keys that it came with");
        }
        for map in [reply, slots(&mut input)] {
            let Ok(ranges) = cluster_slots(map, &asked()) else { continue };
            let covered: usize = ranges.iter().map(|range| usize::from(range.last - range.first) + 1).sum();
            assert!(covered <= usize::from(SLOTS), "{covered}");
            for range in &ranges {
                assert!(range.first <= range.last && range.last < SLOTS, "{range:?}");
                range.replicas.iter().chain([&range.primary]).for_each(assert_plain);
            }
        }
    });
}

#[test]
fn any_error_is_one_bounded_line_and_any_redirect_makes_sense() {
    bolero::check!().for_each(|data: &[u8]| {
        let mut input = Input::new(data);
        let code = input.pick(&["", "MOVED ", "ASK ", "ERR ", "NOPERM ", "LOADING ", "WRONGPASS "]);
        let text = format!("{code}{}", String::from_utf8_lossy(data));
        let mask = Mask::of("hunter2");
        let reply = ErrorReply::parse(&text.replace('$', "hunter2"), &mask);
        if let Some(redirect) = reply.redirect(&asked()) {
            assert!(redirect.slot < SLOTS, "{redirect:?}");
            assert_plain(&redirect.address);
        }
        let shown = format!("{}{}", reply.code, reply.message);
        let is_address = reply.is_redirect() && is_slot_and_address(&reply.message);
        assert!(is_address || !shown.contains("hunter2"), "{shown:?}");
        assert!(!shown.contains(|c: char| c.is_control()), "{shown:?}");
        assert!(shown.chars().count() <= LONGEST_SHOWN, "{}", shown.len());
        let _ = (reply.reason(), ServerError::from(reply));
    });
}
