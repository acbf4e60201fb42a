use cache_house::cached;

#[cached(tags = ["all"])]
fn not_a_list(team: u32) -> u32 {
    team
}

#[cached(tags("all", ""))]
fn empty(team: u32) -> u32 {
    team
}

#[cached(tags("all", "team-{taem}"))]
fn misspelt(team: u32) -> u32 {
    team
}

#[cached(tags(["team-{team.id}"]))]
fn in_brackets(team: u32) -> u32 {
    team
}

#[cached(tag("all"))]
fn only_one(team: u32) -> u32 {
    team
}

fn main() {}
