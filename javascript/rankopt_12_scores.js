// Pure parts of scores: how a number is written, which images of a round still lack one, and what is said about a scorer.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.scoring) return;

    const DIGITS = 4;

    /** A score with four significant digits. */
    function digits(value) {
        const short = value.toPrecision(DIGITS);
        return (short.includes('e') ? String(Number(short)) : short).replace(/-/g, '−');
    }

    /** Images of a round that can be scored and have no number yet; none while the round is being made. */
    function lacking(round, known) {
        if (!round || round.placeholder || ['queued', 'generating', 'discarded'].includes(round.status)) return [];
        return round.candidates.filter((one) => one.image && !known.has(one.id)).map((one) => one.id);
    }

    /** The numbers that a scored round has from one scorer, by candidate. */
    function numbers(round, scorer) {
        return new Map(round.candidates.filter((one) => one.scores[scorer] !== undefined).map((one) => [one.id, one.scores[scorer]]));
    }

    /** What a number means: who gave it, on which scale, and what is to be known of it. */
    function meaning(info) {
        const among = info.relative ? 'compares the images of this round only' : '';
        return [[info.name, info.scale].filter(Boolean).join(': '), among, info.warning].filter(Boolean).join(' · ');
    }

    /** What a menu says of a scorer before it is chosen. */
    function about(info) {
        if (!info.ready) return info.problem;
        return info.version ? meaning(info) : 'Its weights are here; the first time it has to load them.';
    }

    /** Which scorer a menu offers first: the one in use, or the first that can be used. */
    function offered(infos, chosen) {
        const ready = infos.find((info) => info.ready) || infos[0];
        return chosen || (ready ? ready.name : '');
    }

    ns.scoring = {digits, lacking, numbers, meaning, about, offered};
}());
