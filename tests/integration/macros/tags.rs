//! Tags in the attribute: the same in the function and in its siblings.

use super::*;

const ALL: &str = "all";

fn shown(options: &CacheOptions) -> String {
    format!("{options:?}")
}

#[cached(handle = cache, skip(cache, team), tags("team-{team}", ALL, name.to_lowercase(), "{{team}}"))]
async fn user(cache: CacheHandle, team: Box<u32>, name: String) -> String {
    tokio::task::yield_now().await;
    drop(cache);
    format!("{name} of {team}")
}

#[test]
fn texts_take_up_arguments_and_expressions_are_tags() {
    let by_hand = opts!("user", "Ada").tags(["team-7", "all", "ada", "{team}"]);
    assert_eq!(shown(&user_options(Box::new(7), "Ada".into())), shown(&by_hand));
    let runtime = current_thread();
    let cache = memory();
    for hits in [0, 1] {
        let call = runtime.spawn(user(cache.clone(), Box::new(7), "Ada".into()));
        assert_eq!(runtime.block_on(call).expect("it ends"), "Ada of 7");
        assert_eq!(runs_and_hits(&cache), (1, hits));
    }
    assert!(cache.contains(user_options(Box::new(7), "Ada".into())));
    assert!(cache.contains(by_hand));
}

#[test]
fn a_list_may_stand_in_brackets_and_a_tag_may_come_twice() {
    #[cached(tags(["b", "a-{n}", "b"]), namespace = "n-{n}")]
    fn listed(n: u8) -> u8 {
        n
    }
    #[cached(tags())]
    fn none(n: u8) -> u8 {
        n
    }
    assert_eq!(shown(&listed_options(7)), shown(&opts!("listed", 7).namespace("n-7").tags(["a-7", "b"])));
    assert_eq!(shown(&none_options(7)), shown(&opts!("none", 7)));
    assert_eq!((listed(7), none(7)), (7, 7));
}

#[test]
fn what_arguments_make_no_tag_of_runs_uncached() {
    #[cached(handle = cache, skip(cache), tags("{tag}"))]
    fn tagged(cache: &CacheHandle, tag: &str) -> usize {
        tag.len()
    }
    let cache = memory();
    assert_eq!((tagged(&cache, ""), tagged(&cache, "")), (0, 0));
    assert_eq!(runs_and_hits(&cache), (2, 0));
    assert!(cache.key(&tagged_options("")).expect_err("the tag is empty").is_key());
    assert_eq!((tagged(&cache, "a"), tagged(&cache, "a")), (1, 1));
    assert_eq!(runs_and_hits(&cache), (3, 1));
}

struct Shop {
    cache: CacheHandle,
    id: u8,
}

trait Sells {
    fn sold(&self, day: u8) -> u8;
}

impl Sells for Shop {
    #[cached(siblings = false, handle = self.cache, tags("day-{day}", format!("shop-{}", self.id)))]
    fn sold(&self, day: u8) -> u8 {
        day
    }
}

impl Shop {
    #[cached(handle = self.cache, tags(format!("shop-{}", self.id), "day-{day}"), key(self.id))]
    fn stock<T: Display>(&mut self, day: T) -> u8 {
        self.id += 1;
        day.to_string().len() as u8
    }
}

#[test]
fn methods_have_tags_too() {
    let mut shop = Shop { cache: memory(), id: 3 };
    let by_hand = CacheOptions::new("stock").module(type_name::<Shop>()).arg(3).kwarg("T", type_name::<&str>());
    assert_eq!(shown(&shop.stock_options("today")), shown(&by_hand.tag("shop-3").tag("day-today")));
    assert_eq!((shop.stock("today"), shop.sold(1), shop.sold(1)), (5, 1, 1));
    assert_eq!(runs_and_hits(&shop.cache), (2, 1));
}
