// Pure parts of ranking a folder: what a key means, when an answer is whole, how the images lie, and how far it is in words.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.comparing) return;

    const LETTERS = {s: 'skip', z: 'undo', u: 'undo', l: 'like', x: 'dislike', d: 'dislike', f: 'full', '=': 'equal', ' ': 'equal', '?': 'help'};
    const FIRST = new Set(['ArrowLeft', 'ArrowUp']);

    /**
     * What a key press asks for: {name, place, tie, direction} or null. Digits go by the physical key. Of two images an arrow chooses one;
     * among more it moves the focus.
     * @param {number} number of images on screen
     */
    function command(event, number) {
        if (event.ctrlKey || event.altKey || event.metaKey) return null;
        const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code || '');
        if (digit && (event.code.startsWith('Digit') || /^[0-9]$/.test(event.key))) {
            const place = Number(digit[1]) - 1;
            return place < number ? {name: 'choose', place, tie: event.shiftKey} : null;
        }
        if (event.key.startsWith('Arrow')) {
            return number === 2 ? {name: 'choose', place: FIRST.has(event.key) ? 0 : 1, tie: false} : {name: 'move', direction: event.key};
        }
        if (event.key === 'Enter') return {name: 'confirm'};
        if (event.key === 'Escape') return {name: 'escape'};
        const name = LETTERS[event.key.toLowerCase()];
        return name ? {name} : null;
    }

    /** Is there nothing left to say? Of two, and of four, the best is enough; of a list the last one follows from the others. */
    function isWhole(layout, number, tiers) {
        const placed = ns.ranking.count(tiers);
        return layout === 'list' ? placed >= number - 1 : placed >= 1;
    }

    /** Tiers that name every place: what is not placed is equal and last. */
    function complete(number, tiers) {
        const rest = Array.from({length: number}, (_, place) => place).filter((place) => !tiers.some((tier) => tier.includes(place)));
        return rest.length ? [...tiers, rest] : tiers;
    }

    /** Columns and size of the boxes that make the images biggest in a place, whatever their shapes. */
    function arrange(aspects, width, height, gap) {
        const number = aspects.length;
        let best = {columns: 1, wide: 0, high: 0, area: -1};
        for (let columns = 1; columns <= number; columns++) {
            const rows = Math.ceil(number / columns);
            const wide = Math.floor((width - gap * (columns - 1)) / columns);
            const high = Math.floor((height - gap * (rows - 1)) / rows);
            if (wide < 1 || high < 1) continue;
            // the smallest image counts: nobody should have to squint at one of them
            const area = Math.min(...aspects.map((aspect) => Math.min(wide, high * aspect) * Math.min(high, wide / aspect)));
            if (area > best.area) best = {columns, wide, high, area};
        }
        // no box larger than what lies in it
        const wide = Math.min(best.wide, Math.ceil(best.high * Math.max(...aspects)));
        const high = Math.min(best.high, Math.ceil(best.wide / Math.min(...aspects)));
        return {columns: best.columns, wide, high};
    }

    /** How far a ranking is, honestly: what is said is about the running estimate. */
    function progressWords(progress) {
        const count = progress.comparisons;
        if (!count) return 'Nothing compared yet';
        const counted = `${count.toLocaleString('en')} comparison${count === 1 ? '' : 's'}`;
        if (progress.settled === null || progress.settled === undefined) return counted;
        const share = Math.round(progress.settled * 100);
        return `${counted} · ${share < 1 ? 'less than 1' : `about ${share}`} % of the order settled`;
    }

    /** "1.25 ± 0.40", with a real minus. */
    function strength(mean, sd) {
        return `${mean.toFixed(2).replace('-', '−')} ± ${sd.toFixed(2)}`;
    }

    /** A share with its interval: "92 % (78–97)". */
    function share(one) {
        if (!one) return '';
        const percent = (value) => Math.round(value * 100);
        return `${percent(one.mean)} % (${percent(one.low)}–${percent(one.high)})`;
    }

    ns.comparing = {command, isWhole, complete, arrange, progressWords, strength, share};
}());
