"""The shipped facts: the ids give the digests, and the dictionary is the published one."""

from __future__ import annotations

from fairseq_parp.manifests.corpora.facts import digest, facts_of, librilight_ids, published_letters


def test_the_shipped_ids_have_the_digests_and_counts_of_the_shipped_facts() -> None:
    facts = facts_of("librilight")
    ids = librilight_ids()
    assert {name: (len(of), digest(of)) for name, of in ids.items()} == {
        name: (fact.utterances, fact.ids_sha256) for name, fact in facts.items()
    }
    assert len(ids["1h"]) + len(ids["9h"]) == len(set(ids["10h"])) == 2763
    assert [name for name, fact in facts.items() if not fact.confirmed] == [f"10min-{fold}" for fold in range(1, 6)]


def test_every_corpus_has_its_tolerance() -> None:
    assert {fact.frames_within for fact in facts_of("librispeech").values()} == {0}
    assert {fact.frames_within for fact in facts_of("commonvoice").values()} == {0.02}
    assert facts_of("librispeech")["dev-other"].utterances == 2864
    assert "tr-train" not in facts_of("commonvoice")


def test_the_dictionary_of_the_released_checkpoints() -> None:
    letters = published_letters()
    assert "".join(letters) == "|ETAONIHSRDLUMWCFGYPBVK'XJQZ"
    assert (letters["|"], letters["Z"]) == (94802, 213)
