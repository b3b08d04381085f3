use std::collections::BTreeMap;

use super::*;
use crate::providers::parse::submissions::Submissions;

#[test]
fn reads_a_list_of_filings_and_names_the_older_ones() {
    let Submissions { filings, overflow } =
        submissions(&context(), CIK, payload!("submissions.json")).unwrap();
    assert_eq!(overflow, ["CIK0000320193-submissions-001.json"]);
    assert_eq!(
        reasons(&filings),
        ["it names no file", "its accessionNumber is not ##########-##-######"]
    );
    let known: Vec<_> =
        filings.rows.iter().map(|(h, f)| (&*f.form, h.known_at, f.period_end)).collect();
    let expected = [
        // Accepted in the evening: shown on the morning of its date.
        ("10-K", utc("2022-10-28T10:00:00Z"), Some(day("2022-09-24"))),
        ("8-K", utc("2022-10-27T20:30:40Z"), Some(day("2022-10-27"))),
        ("4", utc("2022-10-11T10:00:00Z"), None),
        // 21:00 UTC is 16:00 in New York; 21:00 there would be the next date's. The
        // date of the meeting is no period.
        ("DEF 14A", utc("2022-01-06T21:00:00Z"), None),
        // An old label: Friday evening in New York, dated Monday.
        ("10-K", utc("2022-02-07T11:00:00Z"), Some(day("2021-12-31"))),
    ];
    assert_eq!(known, expected);
    let (head, first) = &filings.rows[0];
    assert_eq!(head.record_id, "AAPL:0000320193-22-000108");
    assert_eq!(head.event_time, utc("2022-09-24T00:00:00Z"));
    assert_eq!(
        head.url,
        "https://www.sec.gov/Archives/edgar/data/320193/000032019322000108/aapl-20220924.htm"
    );
    assert_eq!(first.cik, CIK);
    assert_eq!(finished(filings).0, 5);
}

#[test]
fn reads_a_file_of_older_filings_and_refuses_unequal_arrays() {
    let list = |dates: &str| {
        format!(
            r#"{{"accessionNumber":["0000320193-15-000001"],"filingDate":{dates},"reportDate":[""],
            "acceptanceDateTime":["2015-07-21T16:30:00.000Z"],"form":["8-K"],
            "primaryDocument":["a.htm"]}}"#
        )
    };
    let older = submissions(&context(), CIK, list(r#"["2015-07-21"]"#).as_bytes()).unwrap();
    assert_eq!(older.filings.rows[0].0.known_at, utc("2015-07-21T20:30:00Z"));
    let unequal = submissions(&context(), CIK, list("[]").as_bytes()).unwrap();
    assert!(unequal.filings.rows.is_empty());
    assert!(
        reasons(&unequal.filings)[0].starts_with(
            "its arrays differ in length: accessionNumber 1, filingDate 0, reportDate 1"
        ),
        "{unequal:?}"
    );
}

#[test]
fn refuses_lists_that_are_none_or_of_another() {
    let read = |text: &str| format_error(submissions(&context(), CIK, text.as_bytes()));
    assert_eq!(read(r#"{"filings":{}}"#), "it names no CIK");
    assert_eq!(
        read(r#"{"cik":"789019","filings":{"recent":{}}}"#),
        "it is about CIK 789019, not 320193"
    );
    assert_eq!(read(r#"{"cik":320193,"filings":{}}"#), "it has no filings.recent");
    assert_eq!(read(r#"{"form":["4"]}"#), "it has no array accessionNumber");
    assert!(read("<html>").contains("expected value"));
    assert_eq!(
        format_error(submissions(&context(), 1, br#"{"cik":1,"filings":{"recent":{}}}"#)),
        "it is about CIK 1, not AAPL"
    );
}

const FACTS: &str = r#"{"cik":320193,"entityName":"Example Inc.","facts":{"us-gaap":{
    "Revenues":{"label":"Revenues","units":{"USD":[
        {"start":"2021-09-26","end":"2022-09-24","val":394328000000,"accn":"0000320193-22-000108","fy":2022,"fp":"FY","form":"10-K","filed":"2022-10-28","frame":"CY2022"},
        {"start":"2021-09-26","end":"2022-09-24","val":394328000000,"accn":"0000320193-23-000106","fy":2023,"fp":"FY","form":"10-K","filed":"2023-11-03"},
        {"start":"2021-09-26","end":"+262142-09-24","val":1,"accn":"a","fy":2022,"fp":"FY","form":"10-K","filed":"2022-10-28"},
        {"end":"2022-09-24","val":"much","accn":"a","form":"10-K","filed":"2022-10-28"},
        {"end":"2022-09-24","val":5,"accn":"0000320193-22-000001","form":"10-K","filed":"2022-01-01"}]}},
    "Assets":{"units":{"USD":7}},"Odd":{"units":[]}},"dei":[]}}"#;

#[test]
fn facts_are_known_when_their_filing_was() {
    let known = BTreeMap::from([("0000320193-22-000108".to_owned(), utc("2022-10-28T10:00:00Z"))]);
    let facts = company_facts(&context(), FACTS.as_bytes(), &known).unwrap();
    let times: Vec<_> = facts.rows.iter().map(|(head, _)| head.known_at).collect();
    assert_eq!(times[..2], [utc("2022-10-28T10:00:00Z"), utc("2023-11-04T02:00:00Z")]);
    let (head, fact) = &facts.rows[0];
    assert_eq!(
        head.record_id,
        "AAPL:0000320193-22-000108:us-gaap:Revenues:USD:2021-09-26:2022-09-24"
    );
    assert_eq!((fact.value, fact.filing_fy), (394_328_000_000.0, Some(2022)));
    let places: Vec<_> = facts.rejected.iter().map(|r| (&*r.place, &*r.reason)).collect();
    let url = context().place;
    let expected = [
        ("us-gaap:Revenues USD[2]", "its end \"+262142-09-24\" is not YYYY-MM-DD"),
        ("us-gaap:Revenues USD[3]", "invalid type: string \"much\", expected f64"),
        ("us-gaap:Assets USD", "its values are no array"),
        ("us-gaap:Odd", "it has no units"),
        ("dei", "its concepts are no object"),
    ];
    let expected = expected.map(|(place, reason)| (format!("{url} {place}"), reason));
    let expected: Vec<_> = expected.iter().map(|(place, reason)| (&**place, *reason)).collect();
    assert_eq!(places, expected);
    let (taken, refused) = finished(facts);
    assert_eq!(taken, 2);
    assert!(refused.contains(&"its period ends after it was filed".to_owned()), "{refused:?}");
    let other = FACTS.replacen("320193", "1", 1);
    let error = format_error(company_facts(&context(), other.as_bytes(), &known));
    assert_eq!(error, "it is about CIK 1, not AAPL");
}

#[test]
fn reads_transactions_of_a_form_4() {
    let filing = filing("4", "2023-05-11", Some("2023-05-11T22:31:05Z"));
    let found = form4(&context(), &filing, payload!("form4.xml")).unwrap();
    let (head, sale) = &found.rows[0];
    assert_eq!(head.known_at, utc("2023-05-11T22:31:05Z"));
    assert_eq!(head.event_time, utc("2023-05-10T00:00:00Z"));
    assert_eq!((&*sale.owner, &*sale.owner_cik), ("DOE JANE", "0001111111"));
    assert_eq!(sale.relationship, "Director,Officer");
    assert_eq!((&*sale.code, &*sale.acquired, sale.shares), ("S", "D", 69_996.0));
    assert_eq!((sale.price, sale.plan_10b5_1, sale.orig_filed), (Some(173.2938), Some(true), None));
    let (_, exercise) = &found.rows[1];
    assert_eq!((exercise.shares, exercise.price), (1000.5, None));
    assert_eq!(exercise.trade_date, day("2023-05-10"));
    assert_eq!(
        reasons(&found),
        ["it states no number of shares", "its transactionShares \"many\" is not a number"]
    );
    assert!(found.rejected.iter().all(|r| !r.raw.contains("DOE") && !r.raw.contains("STREET")));
    let (taken, refused) = finished(found);
    assert_eq!(taken, 2);
    assert!(refused.contains(&"it happened after it was filed".to_owned()), "{refused:?}");
}

#[test]
fn reads_an_amendment_with_namespaces_in_its_submission() {
    let form = String::from_utf8(payload!("form4.xml").to_vec()).unwrap();
    let form = form
        .replace("<ownershipDocument>", "<o:ownershipDocument xmlns:o=\"urn:o\">")
        .replace("</ownershipDocument>", "</o:ownershipDocument>")
        .replace("<documentType>4<", "<documentType>4/A<")
        .replace("<aff10b5One>1</aff10b5One>", "")
        .replace(
            "<notSubjectTo",
            "<dateOfOriginalSubmission>2023-05-11</dateOfOriginalSubmission><notSubjectTo",
        );
    let text = format!(
        "<SEC-DOCUMENT>0000320193-23-000070.txt : 20230601\n<SEC-HEADER>0000320193-23-000070.hdr.sgml\n\
         <ACCEPTANCE-DATETIME>20230531213005\nACCESSION NUMBER:\t\t0000320193-23-000070\n\
         CONFORMED SUBMISSION TYPE:\t4/A\nCONFORMED PERIOD OF REPORT:\t20230510\n\
         FILED AS OF DATE:\t\t20230531\nREPORTING-OWNER:\n\tCENTRAL INDEX KEY:\t0001111111\n\
         ISSUER:\n\tCENTRAL INDEX KEY:\t\t0000320193\n</SEC-HEADER>\n<DOCUMENT>\n<TYPE>4/A\n\
         <SEQUENCE>1\n<FILENAME>form4a.xml\n<TEXT>\n<XML>\n{form}\n</XML>\n</TEXT>\n</DOCUMENT>\n"
    );
    let submitted = full_submission(&context(), CIK, text.as_bytes()).unwrap();
    // Half past nine in the evening of New York.
    assert_eq!(submitted.filing.0.known_at, utc("2023-06-01T01:30:05Z"));
    assert_eq!(submitted.filing.1.period_end, Some(day("2023-05-10")));
    let [document] = &submitted.documents[..] else { panic!("{submitted:?}") };
    assert_eq!((&*document.kind, &*document.name), ("4/A", "form4a.xml"));
    let bytes = &text.as_bytes()[document.range.clone()];
    for bytes in [bytes, text.as_bytes()] {
        let found = form4(&context(), &submitted.filing, bytes).unwrap();
        let (_, row) = &found.rows[0];
        assert_eq!((&*row.form, row.orig_filed), ("4/A", Some(day("2023-05-11"))));
        assert_eq!((row.filed, row.plan_10b5_1), (day("2023-05-31"), None));
    }
    for (from, to, reason) in [
        ("0000320193-23-000070\nCON", "1\nCON", "its header has no usable ACCESSION NUMBER"),
        ("20230531\nREP", "2023\nREP", "its header has no usable FILED AS OF DATE"),
        ("\t\t0000320193\n", "\t\t5\n", "its header does not name CIK 320193"),
    ] {
        let error = full_submission(&context(), CIK, text.replace(from, to).as_bytes());
        assert_eq!(format_error(error), reason);
    }
}

#[test]
fn refuses_forms_that_are_none_or_of_another() {
    let filing = filing("4", "2023-05-11", None);
    let read = |text: &str| form4(&context(), &filing, text.as_bytes());
    assert_eq!(format_error(read("<a/>")), "it is no ownershipDocument");
    assert_eq!(format_error(read("<ownershipDocument/>")), "it names no issuerCik");
    let issuer = "<ownershipDocument><issuer><issuerCik>5</issuerCik></issuer></ownershipDocument>";
    assert_eq!(format_error(read(issuer)), "it is about CIK 5, not AAPL");
    let dtd = "<!DOCTYPE a [<!ENTITY b \"c\">]><ownershipDocument>&b;</ownershipDocument>";
    assert!(format_error(read(dtd)).contains("DTD"), "{}", format_error(read(dtd)));
    assert!(!format_error(read("<ownershipDocument>")).is_empty());
    assert_eq!(format_error(form4(&context(), &filing, b"<a>\xff</a>")), "it is not UTF-8");
    let form = String::from_utf8(payload!("form4.xml").to_vec()).unwrap();
    let initial = read(&form.replace("<documentType>4<", "<documentType>3<")).unwrap();
    assert!(initial.rows.is_empty() && initial.rejected.is_empty());
    let ownerless = read(&form.replace("reportingOwner>", "other>")).unwrap();
    assert_eq!(ownerless.rows.len(), 0);
    assert!(reasons(&ownerless).iter().all(|reason| *reason == "its form names no owner"));
}
