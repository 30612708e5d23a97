// One image of the Data page's gallery, and what is said of it in words.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.DataCell) return;

    const {h, set, text, mark} = ns.base;
    const STATES = {unseen: 'not looked at yet', here: 'file is here', gone: 'file is gone', changed: 'file has changed', removed: 'removed'};

    /** What a rater says of an image: 1, −1, or 0; only what was said on purpose. */
    const said = (image, rater) => {
        const own = image.labels.find((label) => label.rater === rater && !label.sources.length);
        return own ? Math.sign(own.value) : 0;
    };

    /** "liked by me, disliked by ann (saved)" */
    function labelWords(image) {
        return image.labels.map((label) => `${label.value > 0 ? 'liked' : 'disliked'} by ${label.rater}${label.sources.length ? ` (${label.sources.join(', ')})` : ''}`).join(', ');
    }

    /** "won 3, lost 1" */
    function record(image) {
        if (!image.comparisons) return '';
        return `won ${image.wins}, lost ${image.losses}${image.ties ? `, tied ${image.ties}` : ''}`;
    }

    /** What a screen reader says of an image. */
    function describe(image, place, picked) {
        const parts = [`Image ${place + 1}`, image.prompt.slice(0, 120) || 'no caption', labelWords(image), record(image)];
        if (image.contradictory) parts.push('raters disagree');
        if (image.state !== 'here' && image.state !== 'unseen') parts.push(STATES[image.state]);
        if (picked) parts.push('selected');
        return parts.filter(Boolean).join(', ');
    }

    /** One image of the gallery. */
    class Cell {
        constructor(gallery, image, place) {
            this.place = place;
            this.picture = h('img', {alt: '', loading: 'lazy', decoding: 'async', draggable: 'false', src: gallery.page.api.thumb(image.number, 256), onerror: () => mark(this.element, 'ro-lost', true)});
            this.label = h('span', {class: 'ro-cell-label', 'aria-hidden': 'true'});
            this.record = h('span', {class: 'ro-cell-record', 'aria-hidden': 'true'});
            this.state = h('span', {class: 'ro-cell-state', 'aria-hidden': 'true'});
            this.element = h('button', {type: 'button', class: 'ro-cell', tabindex: '-1', 'data-number': image.number, onclick: (event) => gallery.click(this.image, event), onfocus: () => gallery.focusOn(this.image.number, false)},
                this.picture, this.label, this.record, this.state);
        }

        draw(image, rater, picked, focus) {
            this.image = image;
            const mine = said(image, rater);
            const value = mine || image.labels.reduce((sum, label) => sum + label.value, 0);
            text(this.label, image.contradictory ? '♥ ✗' : (value > 0 ? '♥' : value < 0 ? '✗' : ''));
            mark(this.label, 'ro-good', value > 0 && !image.contradictory);
            mark(this.label, 'ro-bad', value < 0 && !image.contradictory);
            mark(this.label, 'ro-weak', !image.contradictory && Math.abs(value) < 1); // concluded, not said
            text(this.record, image.comparisons ? `${image.wins}–${image.losses}` : '');
            text(this.state, ['gone', 'changed', 'removed'].includes(image.state) ? image.state : '');
            mark(this.element, 'ro-picked', picked);
            set(this.element, 'aria-pressed', String(picked));
            set(this.element, 'tabindex', focus ? '0' : '-1');
            set(this.element, 'aria-current', focus ? 'true' : null);
            set(this.element, 'aria-label', describe(image, this.place, picked));
            set(this.element, 'title', image.prompt.slice(0, 300));
        }
    }

    ns.DataCell = Cell;
    ns.dataWords = {said, labelWords, record, STATES};
}());
