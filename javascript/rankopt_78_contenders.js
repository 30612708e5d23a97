// What the ranking of a folder is made of: images read ahead, their places on screen, and answers on their way.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.Contender) return;

    const {h, set, text, mark, icon, ordinal} = ns.base;
    const LARGE = 2048;
    const OUTBOX = 'rankopt:outbox';

    /** An image that is being read before it is shown. */
    function preload(api, image) {
        const element = h('img', {class: 'ro-shown', alt: '', draggable: 'false'});
        const loaded = new Promise((done) => {
            element.addEventListener('load', () => done(true));
            element.addEventListener('error', () => {
                // what a browser cannot show, such as TIFF, the server makes smaller and another kind
                if (element.src.endsWith('/file')) element.src = api.thumb(image.number, LARGE);
                else done(false);
            });
        });
        element.src = api.url('data', 'images', String(image.number), 'file');
        return {...image, element, loaded};
    }

    /** One place on screen. */
    class Contender {
        constructor(view, place) {
            this.view = view;
            this.place = place;
            this.badge = h('span', {class: 'ro-badge', 'aria-hidden': 'true'});
            this.keycap = h('kbd', {class: 'ro-place', 'aria-hidden': 'true'}, String(place + 1));
            this.hold = h('span', {class: 'ro-hold'});
            this.main = h('button', {type: 'button', class: 'ro-choose-this', onclick: (event) => {
                if (event.detail > 0) event.currentTarget.blur();
                view.choose(place, event.shiftKey);
            }}, this.hold, this.badge, this.keycap);
            const tool = (kind, label) => h('button', {type: 'button', class: `ro-tool ro-${kind}`, title: label, 'aria-label': `${label}, image ${place + 1}`, onclick: (event) => {
                if (event.detail > 0) event.currentTarget.blur();
                view.label(place, kind);
            }}, icon(kind));
            this.like = tool('like', 'Like (L)');
            this.dislike = tool('dislike', 'Dislike (X)');
            this.element = h('div', {class: 'ro-contender', onpointermove: () => (view.hovered = place), onpointerleave: () => (view.hovered = null)},
                this.main, h('div', {class: 'ro-tools'}, this.like, this.dislike));
        }

        draw(image, tiers) {
            const tier = ns.ranking.tierOf(tiers, this.place);
            if (this.hold.firstChild !== image.element) this.hold.replaceChildren(image.element);
            text(this.badge, tier || '');
            mark(this.element, 'ro-ranked', tier > 0);
            mark(this.element, 'ro-first', tier === 1);
            mark(this.element, 'ro-liked', image.label === 'like');
            mark(this.element, 'ro-disliked', image.label === 'dislike');
            set(this.like, 'aria-pressed', String(image.label === 'like'));
            set(this.dislike, 'aria-pressed', String(image.label === 'dislike'));
            const said = [`Image ${this.place + 1}: ${image.name}`, tier ? `placed ${ordinal(tier)}` : '', image.label ? `${image.label}d` : ''];
            set(this.main, 'aria-label', said.filter(Boolean).join(', '));
        }
    }

    /** Sends answers one after the other, in the background; what the server has not taken yet survives a reload of the page. */
    class Outbox {
        /** @param {(number: number, progress: object) => void} answered is told what the server says */
        constructor(api, answered) {
            this.api = api;
            this.answered = answered;
            this.sending = Promise.resolve();
        }

        /** [collection, path, body] of each. */
        get items() {
            return ns.shelf.get(OUTBOX) || this.unkept || [];
        }

        set items(items) {
            this.unkept = items; // where the browser keeps nothing
            ns.shelf.set(OUTBOX, items.length ? items : null);
        }

        get tokens() {
            return this.items.map(([, , body]) => body.token);
        }

        add(item) {
            this.items = [...this.items, item];
            this.deliver(item);
        }

        /** What an earlier page could not send. */
        flush() {
            if (this.flushed) return;
            this.flushed = true;
            for (const item of this.items) this.deliver(item);
        }

        deliver([number, what, body]) {
            this.sending = this.sending.then(async () => {
                try {
                    const found = await this.api.persist('POST', ['data', 'collections', String(number), what], body);
                    this.answered(number, found.progress);
                } catch (error) {
                    ns.report(error);
                }
                this.items = this.items.filter((one) => one[2].token !== body.token);
            });
        }
    }

    /** What runs in the background, in words; empty where nothing does that matters. */
    function jobWords(job) {
        if (!job) return '';
        const outcome = job.outcome || {};
        const problems = outcome.problems ? ` · ${outcome.problems} could not be read (${outcome.first_problems[0]})` : '';
        if (job.state === 'failed') return `${job.title}: ${job.error}`;
        if (['queued', 'running'].includes(job.state)) return job.kind === 'folder' ? `${job.title}: ${job.done} ${job.unit || 'images'} so far${problems}` : `${job.title}…`;
        return job.kind === 'folder' && problems ? `${outcome.new + outcome.known} images${problems}` : '';
    }

    const HELP = [
        ['Two images', [['← →, 1 2', 'this one is better'], ['=, Space', 'equal']]],
        ['Four', [['1 – 4', 'the best one'], ['=, Space', 'none stands out']]],
        ['A list', [['1 – 8', 'in order, best first; again takes it back'], ['Shift + digit', 'a tie with the one before'], ['Enter', 'the rest are equal and last']]],
        ['Always', [['Z', 'undo'], ['S', 'skip: says nothing of the images'], ['L, X', 'like, dislike the image under the pointer, or the one whose number follows'],
            ['F', 'fill the window'], ['Esc', 'back'], ['?', 'this help']]],
    ];

    ns.openRankHelp = function () {
        const groups = HELP.map(([title, rows]) => h('section', {}, h('h3', {}, title), h('dl', {}, rows.map(([keys, meaning]) => [h('dt', {}, h('kbd', {}, keys)), h('dd', {}, meaning)]).flat())));
        const overlay = ns.dialog('Keys', h('div', {class: 'ro-help'}, groups), [{label: 'Close', key: 'Escape', class: 'ro-primary'}]);
        overlay.element.classList.add('ro-wide');
    };
    ns.preload = preload;
    ns.Contender = Contender;
    ns.Outbox = Outbox;
    ns.jobWords = jobWords;
}());
