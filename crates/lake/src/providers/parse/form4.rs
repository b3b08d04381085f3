//! Form 4 and 4/A as EDGAR's XML has them: transactions outside derivatives.
//! Owners' addresses are not read.

use memchr::memmem;
use roxmltree::Node;

use super::{Context, date, xml};
use crate::{
    LakeError, calendar,
    records::{Filing, Head, Owner, Rows, Transaction},
};

/// Roles of an owner as the form flags them, and as the SEC's tables name them.
const ROLES: [(&str, &str); 4] = [
    ("isDirector", "Director"),
    ("isOfficer", "Officer"),
    ("isTenPercentOwner", "TenPercentOwner"),
    ("isOther", "Other"),
];

/// Reads the transactions of a form, alone or in the text file of its submission.
/// Forms 3 and 5 are out of scope: they give no rows.
///
/// # Errors
/// Fails when it is no ownership document, or about another issuer.
pub(crate) fn form4(
    context: &Context<'_>,
    filing: &(Head, Filing),
    bytes: &[u8],
) -> Result<Rows<Transaction>, LakeError> {
    let text = xml::decode(unwrapped(bytes)).map_err(|e| context.format(e))?;
    let document = xml::parse(&text).map_err(|e| context.format(e))?;
    let root = document.root_element();
    if root.tag_name().name() != "ownershipDocument" {
        return Err(context.format("it is no ownershipDocument"));
    }
    let issuer = xml::child(root, "issuer").and_then(|issuer| xml::child_text(issuer, "issuerCik"));
    let issuer = issuer.and_then(|cik| cik.parse().ok());
    context.check_issuer(issuer.ok_or_else(|| context.format("it names no issuerCik"))?)?;
    let mut found = Rows::default();
    let form = xml::child_text(root, "documentType").unwrap_or_default();
    if !matches!(&*form, "4" | "4/A") {
        return Ok(found);
    }
    let transactions = xml::child(root, "nonDerivativeTable").into_iter();
    let transactions = transactions.flat_map(|t| xml::children(t, "nonDerivativeTransaction"));
    let common = common(&filing.1, root, form);
    for (i, node) in transactions.enumerate() {
        let place = format!("nonDerivativeTransaction[{i}]");
        let common = common.as_ref().map_err(|reason| (*reason).to_owned());
        match common.and_then(|common| transaction(common, node)) {
            Ok(row) => found.rows.push((head(context, filing, &row, i), row)),
            Err(reason) => {
                found.rejected.push(context.reject::<Transaction>(
                    &place,
                    reason,
                    text.get(node.range()).unwrap_or_default(),
                ));
            }
        }
    }
    Ok(found)
}

/// Cuts the form out of the text file of its submission.
fn unwrapped(bytes: &[u8]) -> &[u8] {
    let Some(start) = memmem::find(bytes, b"<XML>") else {
        return bytes.trim_ascii();
    };
    let inside = &bytes[start + "<XML>".len()..];
    let inside = &inside[..memmem::find(inside, b"</XML>").unwrap_or(inside.len())];
    inside.trim_ascii()
}

/// Returns what all transactions of a form have in common.
fn common(filing: &Filing, root: Node<'_, '_>, form: String) -> Result<Transaction, &'static str> {
    let day = |name: &str| xml::child_text(root, name).and_then(|text| date(&text));
    let period = day("periodOfReport").ok_or("its periodOfReport is not YYYY-MM-DD")?;
    let owner = Owner::first(xml::children(root, "reportingOwner").map(owner))?;
    Ok(Transaction {
        accession: filing.accession.clone(),
        form,
        filed: filing.filed,
        period,
        orig_filed: day("dateOfOriginalSubmission"),
        owner_cik: owner.cik,
        owner: owner.name,
        relationship: owner.relationship,
        trade_date: period,
        code: String::new(),
        acquired: String::new(),
        shares: 0.0,
        price: None,
        plan_10b5_1: xml::child_text(root, "aff10b5One").map(|flag| is_set(&flag)),
    })
}

fn owner(node: Node<'_, '_>) -> Option<Owner> {
    let id = xml::child(node, "reportingOwnerId")?;
    let roles = xml::child(node, "reportingOwnerRelationship").map(roles);
    Some(Owner {
        cik: xml::child_text(id, "rptOwnerCik")?,
        name: xml::child_text(id, "rptOwnerName")?,
        relationship: roles.unwrap_or_default(),
    })
}

fn transaction(common: &Transaction, node: Node<'_, '_>) -> Result<Transaction, String> {
    let amounts = xml::child(node, "transactionAmounts").ok_or("it has no transactionAmounts")?;
    let coding = xml::child(node, "transactionCoding").ok_or("it has no transactionCoding")?;
    let trade_date = value(node, "transactionDate").as_deref().and_then(date);
    let shares = number(amounts, "transactionShares")?;
    Ok(Transaction {
        trade_date: trade_date.ok_or("its transactionDate is not YYYY-MM-DD")?,
        code: xml::child_text(coding, "transactionCode").ok_or("it has no transactionCode")?,
        acquired: value(amounts, "transactionAcquiredDisposedCode").unwrap_or_default(),
        shares: shares.ok_or("it states no number of shares")?,
        // Where a footnote tells the price, or there is none, the element has no value.
        price: number(amounts, "transactionPricePerShare")?,
        ..common.clone()
    })
}

fn head(context: &Context<'_>, filing: &(Head, Filing), row: &Transaction, i: usize) -> Head {
    Head {
        record_id: format!("{}-{}-{i}", context.ticker, row.accession),
        event_time: calendar::midnight(row.trade_date),
        source: format!("SEC Form {} {}", row.form, row.accession),
        ..filing.0.clone()
    }
}

/// Returns the value of a child element; elements that hold a footnote alone have none.
fn value(node: Node<'_, '_>, name: &str) -> Option<String> {
    xml::child(node, name).and_then(|element| xml::child_text(element, "value"))
}

fn number(node: Node<'_, '_>, name: &str) -> Result<Option<f64>, String> {
    let Some(text) = value(node, name) else {
        return Ok(None);
    };
    let number = text.parse().map_err(|_| format!("its {name} {text:?} is not a number"))?;
    Ok(Some(number))
}

fn roles(relationship: Node<'_, '_>) -> String {
    let has = |flag| xml::child_text(relationship, flag).is_some_and(|text| is_set(&text));
    let roles: Vec<&str> =
        ROLES.iter().filter(|(flag, _)| has(flag)).map(|(_, role)| *role).collect();
    roles.join(",")
}

fn is_set(flag: &str) -> bool {
    flag == "1" || flag.eq_ignore_ascii_case("true")
}
