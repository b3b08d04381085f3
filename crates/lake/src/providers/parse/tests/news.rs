use super::*;

const FETCHED: &str = "2022-09-30T12:00:00Z";

fn fetched() -> DateTime<Utc> {
    utc(FETCHED)
}

#[test]
fn reads_rss_as_text_without_authors() {
    let found = feed(&context(), payload!("rss.xml"), fetched()).unwrap();
    let rows: Vec<_> =
        found.rows.iter().map(|(h, a)| (&*a.title, &*a.body, &*a.site, &*h.url)).collect();
    let expected = [
        (
            "Apple & partners post record profit",
            "Apple posted a record profit. Analysts cheered.",
            "Example Wire",
            "https://wire.example/1",
        ),
        ("Short", "The whole story, in full length.", "Other Site", "https://wire.example/2"),
        ("No date", "", "Example Wire", "https://wire.example/3"),
    ];
    assert_eq!(rows, expected);
    let (head, article) = &found.rows[0];
    assert_eq!(head.event_time, utc("2022-09-29T14:00:00Z"));
    // Published the day before, but seen only now.
    assert_eq!(head.known_at, fetched());
    assert!(article.tone > 0.5, "{}", article.tone);
    assert_eq!(found.rows[1].0.event_time, utc("2022-09-29T13:30:00Z"));
    assert_eq!(found.rows[2].0.event_time, fetched());
    assert_eq!(
        reasons(&found),
        ["its time is neither RFC 3339 nor RFC 2822", "it has no title", "its url is not http(s)"]
    );
    assert!(!format!("{found:?}").contains("ane"), "an author was read");
    assert_eq!(finished(found).0, 3);
}

#[test]
fn reads_atom_in_another_encoding() {
    let found = feed(&context(), payload!("atom.xml"), fetched()).unwrap();
    let (head, article) = &found.rows[0];
    assert_eq!((&*article.title, &*article.body), ("Apple’s café", "Sales fell badly."));
    assert_eq!((&*article.site, &*head.url), ("Example Blog", "https://blog.example/1"));
    assert_eq!(head.event_time, utc("2022-09-29T12:00:00Z"));
    // What bears a later time than the fetch is known at that time.
    assert_eq!(found.rows[1].0.known_at, utc("2022-10-05T10:00:00Z"));
}

#[test]
fn an_article_fetched_again_is_the_same_record_and_a_changed_one_another() {
    let id = |text: &str, at: &str| {
        feed(&context(), text.as_bytes(), utc(at)).unwrap().rows[0].0.record_id.clone()
    };
    let text = String::from_utf8(payload!("rss.xml").to_vec()).unwrap();
    assert_eq!(id(&text, FETCHED), id(&text, "2022-10-01T12:00:00Z"));
    assert_ne!(id(&text, FETCHED), id(&text.replace("cheered", "jeered"), FETCHED));
}

#[test]
fn refuses_what_is_no_feed() {
    let read = |bytes: &[u8]| format_error(feed(&context(), bytes, fetched()));
    assert_eq!(read(b"<html/>"), "it is neither RSS nor Atom: its root is \"html\"");
    assert_eq!(read(b"<rss/>"), "it is neither RSS nor Atom: its root is \"rss\"");
    assert!(!read(b"<rss><channel>").is_empty());
    assert!(!read(b"").is_empty());
    assert_eq!(read(b"<a>\xff</a>"), "it is not UTF-8");
    assert!(read(b"<!DOCTYPE rss SYSTEM \"x\"><rss/>").contains("DTD"));
}

#[test]
fn reads_newsapi_without_authors_and_cut_text() {
    let found = newsapi(&context(), payload!("newsapi.json"), fetched()).unwrap();
    let rows: Vec<_> = found.rows.iter().map(|(_, a)| (&*a.title, &*a.body, &*a.site)).collect();
    let expected = [
        ("Apple rises on strong sales", "Apple rose 3% after strong sales.", "Example Wire"),
        ("Plain", "One & two", "wire.example"),
    ];
    assert_eq!(rows, expected);
    assert_eq!(found.rows[0].0.known_at, fetched());
    assert_eq!(
        reasons(&found),
        [
            "its publisher withdrew it",
            "its publishedAt \"29.9.2022\" is not RFC 3339",
            "invalid type: integer `7`, expected a string"
        ]
    );
    assert!(!format!("{found:?}").contains("Jane"), "an author was read");
}

#[test]
fn an_error_of_newsapi_is_told() {
    let read = |text: &str| format_error(newsapi(&context(), text.as_bytes(), fetched()));
    assert_eq!(
        read(r#"{"status":"error","code":"rateLimited","message":"Too many requests."}"#),
        "the provider answers \"error\", code rateLimited: Too many requests."
    );
    assert_eq!(read(r#"{"status":"ok"}"#), "it has no articles");
    assert!(!read("[]").is_empty());
}
