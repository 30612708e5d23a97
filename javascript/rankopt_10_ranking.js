// Pure parts of the board: the draft ranking, the layout of the grid, and what a key means.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.ranking) return;

    /**
     * Place an image, or take it back where it is placed already.
     * @param {string[][]} tiers best first
     * @param {boolean} tie join the last tier instead of opening one
     */
    function toggle(tiers, id, tie) {
        if (tierOf(tiers, id) > 0) return tiers.map((tier) => tier.filter((one) => one !== id)).filter((tier) => tier.length);
        if (tie && tiers.length) return [...tiers.slice(0, -1), [...tiers[tiers.length - 1], id]];
        return [...tiers, [id]];
    }

    /** 1 for the best tier, 0 for an image that is not placed. */
    function tierOf(tiers, id) {
        return tiers.findIndex((tier) => tier.includes(id)) + 1;
    }

    /** Only images that exist, each once: what a stored draft may still say. */
    function clean(tiers, ids) {
        const left = new Set(ids);
        return (Array.isArray(tiers) ? tiers : [])
            .map((tier) => (Array.isArray(tier) ? tier : []).filter((id) => left.delete(id)))
            .filter((tier) => tier.length);
    }

    /** How many images are placed. */
    const count = (tiers) => tiers.reduce((sum, tier) => sum + tier.length, 0);

    /** Columns and tile width that make the images biggest in a box; on a narrow page two columns, and the page scrolls. */
    function layout(number, width, height, aspect, gap) {
        if (width < 560) return {columns: 2, tile: Math.floor((width - gap) / 2)};
        let best = {columns: 1, tile: 0};
        for (let columns = 1; columns <= number; columns++) {
            const rows = Math.ceil(number / columns);
            const wide = (width - gap * (columns - 1)) / columns;
            const high = (height - gap * (rows - 1)) / rows;
            const tile = Math.floor(Math.min(wide, high * aspect));
            if (tile > best.tile) best = {columns, tile};
        }
        return {columns: best.columns, tile: Math.max(best.tile, 96)};
    }

    /** The neighbour of a place in a grid, or the place itself at the border. */
    function neighbour(place, direction, columns, number) {
        const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns}[direction] || 0;
        const next = place + step;
        return next < 0 || next >= number ? place : next;
    }

    ns.ranking = {toggle, tierOf, clean, count, layout, neighbour};

    const LETTERS = {
        r: 'rank', l: 'like', d: 'dislike', z: 'zoom', u: 'undo', s: 'skip', n: 'none_better', i: 'incumbent', t: 'tie',
        c: 'compare', w: 'slider', b: 'blind', a: 'auto', f: 'full', e: 'use', h: 'chosen', m: 'scores', '?': 'help', '+': 'zoom_in', '=': 'zoom_in', '-': 'zoom_out',
    };
    const NAMED = {' ': 'zoom', Enter: 'confirm', Escape: 'escape'};

    /**
     * What a key press asks for: {name, place, tie} or null. Digits go by the physical key, so that Shift and other layouts do not matter.
     * @param {{key: string, code: string, shiftKey: boolean, ctrlKey: boolean, altKey: boolean, metaKey: boolean}} event
     */
    function command(event) {
        if (event.ctrlKey || event.altKey || event.metaKey) return null;
        const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code || '');
        if (digit && (event.code.startsWith('Digit') || /^[0-9]$/.test(event.key))) {
            return {name: 'place', place: (Number(digit[1]) + 9) % 10, tie: event.shiftKey};
        }
        if (event.key.startsWith('Arrow')) return {name: 'move', direction: event.key};
        if (NAMED[event.key]) return {name: NAMED[event.key]};
        const letter = LETTERS[event.key.toLowerCase()];
        if (!letter) return null;
        return {name: letter, tie: letter === 'rank' && event.shiftKey};
    }

    ns.keys = {command};
}());
