use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::json;

use super::*;

fn bytes<T: Serialize>(value: &T) -> usize {
    bytes_of(value).expect("it can be serialized").try_into().expect("it's small")
}

#[test]
fn what_stands_in_the_value_itself_takes_no_heap() {
    #[derive(serde::Serialize)]
    enum Shape {
        Unit,
        Pair(u8, u64),
        Near { latitude: f64, longitude: f64 },
    }
    assert_eq!(bytes(&7_u64), 0);
    assert_eq!(bytes(&('x', 1.5, [[0_u64; 4]; 2], Some(())).clone()), 0);
    for shape in [Shape::Unit, Shape::Pair(1, 2), Shape::Near { latitude: 60.4, longitude: 5.3 }] {
        assert_eq!(bytes(&shape), 0);
    }
    assert_eq!(bytes(&(String::new(), Vec::<u64>::new(), None::<String>)), 0, "these allocate nothing");
}

#[test]
fn texts_and_lists_take_what_they_hold() {
    assert_eq!(bytes(&"x".repeat(1_000)), 1_000 + PIECE);
    assert_eq!(bytes(&vec![0_u64; 1_000]), 8_000 + PIECE);
    let texts = vec!["x".repeat(10); 100];
    assert_eq!(bytes(&texts), 100 * (size_of::<String>() + 10 + PIECE) + PIECE);
    assert_eq!(bytes(&Some(("x".to_owned(), vec![1_u8]))), 2 * (1 + PIECE));
}

#[test]
fn an_element_takes_its_size_though_little_of_it_is_written() {
    #[derive(Clone, serde::Serialize)]
    struct Sparse {
        name: u64,
        filled: Option<[u64; 32]>,
    }
    let sparse = Sparse { name: 1, filled: None };
    assert_eq!(bytes(&vec![sparse; 10]), 10 * size_of::<Sparse>() + PIECE);
    // The largest says how large all are.
    let mut seldom = vec![None; 99];
    seldom.push(Some([7_u64; 32]));
    assert_eq!(bytes(&seldom), 100 * size_of::<[u64; 32]>() + PIECE);
    assert_eq!(bytes(&vec![json!(1), json!([]), json!(null)]), 3 * size_of::<Value>() + PIECE);
    assert_eq!(bytes(&json!([1, [2], true])), 3 * size_of::<Value>() + PIECE + size_of::<Value>() + PIECE);
    let object = bytes(&json!({"a": 1, "b": null}));
    assert!(object > 2 * (size_of::<Value>() + size_of::<String>() + 1 + PIECE), "{object}");
}

#[test]
fn what_is_larger_than_its_holder_is_boxed() {
    #[derive(Clone, serde::Serialize)]
    struct Wide {
        fields: [u64; 20],
        more: (u64, u64),
    }
    let wide = Wide { fields: [7; 20], more: (1, 2) };
    assert_eq!(bytes(&wide), 0);
    assert_eq!(bytes(&Box::new(wide.clone())), size_of::<Wide>() + PIECE);
    assert_eq!(bytes(&Arc::new(wide.clone()).as_ref()), size_of::<Wide>() + PIECE, "by reference, too");
    assert_eq!(bytes(&Some(Box::new(wide))), size_of::<Wide>() + PIECE);
}

#[test]
fn maps_take_their_members_and_the_room_between_them() {
    let members = 100 * (size_of::<u64>() + size_of::<u32>());
    for counted in [
        bytes(&(0..100_u64).map(|n| (n, 1_u32)).collect::<BTreeMap<_, _>>()),
        bytes(&(0..100_u64).map(|n| (n, 1_u32)).collect::<HashMap<_, _>>()),
    ] {
        assert!(counted > members * 3 / 2 && counted < members * 2 + PIECE, "{counted} for {members}");
    }
}

#[test]
fn what_cannot_be_serialized_is_not_counted() {
    struct Refuses(bool);
    impl Serialize for Refuses {
        fn serialize<S: ser::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            assert!(!self.0, "on purpose");
            Err(ser::Error::custom("refuses"))
        }
    }
    assert_eq!(bytes_of(&Refuses(false)), None);
    assert_eq!(bytes_of(&vec![Refuses(true)]), None);
}
