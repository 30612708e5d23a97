// The grid of images.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.Grid) return;

    const {h, set, text, mark, icon, ordinal} = ns.base;
    const LONG_PRESS = 450;
    const GAP = 12;

    /** One image with its badge, key and like buttons. */
    class Card {
        constructor(grid, id) {
            this.grid = grid;
            this.id = id;
            this.image = h('img', {class: 'ro-image', alt: '', draggable: 'false', onload: () => mark(this.element, 'ro-loaded', true), onerror: () => this.again()});
            this.badge = h('span', {class: 'ro-badge', 'aria-hidden': 'true'});
            this.keycap = h('kbd', {class: 'ro-place', 'aria-hidden': 'true'});
            this.crown = h('span', {class: 'ro-crown', title: 'The incumbent: the best so far, shown again'}, icon('crown'));
            this.score = h('span', {class: 'ro-score', 'aria-hidden': 'true'});
            this.main = h('button', {type: 'button', class: 'ro-pick', onclick: (event) => this.click(event), onfocus: () => grid.focusOn(id)},
                this.image, this.badge, this.keycap, this.crown, this.score);
            this.likeButton = this.small('like', 'Like (L)', () => grid.actions.like(this.id, true));
            this.dislikeButton = this.small('dislike', 'Dislike (D)', () => grid.actions.like(this.id, false));
            const zoom = this.small('zoom', 'Zoom (Z)', () => grid.zoom(this.id));
            this.element = h('div', {class: 'ro-card', 'data-id': id}, this.main,
                h('div', {class: 'ro-tools'}, this.likeButton, this.dislikeButton, zoom));
            this.holdToZoom();
        }

        small(name, label, run) {
            return h('button', {type: 'button', class: `ro-tool ro-${name}`, title: label, 'aria-label': label, tabindex: '-1', onclick: (event) => {
                event.currentTarget.blur();
                run();
            }}, icon(name));
        }

        /** An image that did not come (the server was away) is asked for again. */
        again() {
            const {wanted} = this;
            if (!wanted || !wanted.includes('/images/')) return;
            setTimeout(() => {
                if (this.wanted === wanted) this.image.src = `${wanted}?again=${Date.now()}`;
            }, 1500);
        }

        click(event) {
            if (this.held) return;
            this.grid.actions.rank(this.id, event.shiftKey || event.ctrlKey || event.metaKey);
        }

        /** A long press on a touch screen zooms; the click that follows it does nothing. */
        holdToZoom() {
            let timer = 0;
            const stop = () => clearTimeout(timer);
            this.main.addEventListener('pointerdown', (event) => {
                this.held = false;
                if (event.pointerType === 'mouse') return;
                timer = setTimeout(() => {
                    this.held = true;
                    this.grid.zoom(this.id);
                }, LONG_PRESS);
            });
            for (const name of ['pointerup', 'pointercancel', 'pointerleave', 'pointermove']) {
                this.main.addEventListener(name, (event) => {
                    if (name !== 'pointermove' || Math.hypot(event.movementX, event.movementY) > 6) stop();
                });
            }
            this.main.addEventListener('contextmenu', (event) => {
                if (event.pointerType !== 'mouse') event.preventDefault();
            });
        }

        draw(candidate, place, view) {
            const tier = ns.ranking.tierOf(view.tiers, this.id);
            const preview = view.previews[this.id];
            this.source(candidate, preview, view);
            text(this.badge, tier || '');
            text(this.keycap, place < 10 ? (place + 1) % 10 : '');
            ns.drawScore(this.score, view.scores.get(this.id), view.meaning);
            mark(this.element, 'ro-ranked', tier > 0);
            mark(this.element, 'ro-first', tier === 1);
            mark(this.element, 'ro-waiting', !candidate.image);
            mark(this.element, 'ro-previewing', !candidate.image && preview !== undefined);
            mark(this.element, 'ro-incumbent', view.showIncumbent && candidate.id === view.incumbent);
            mark(this.element, 'ro-liked', candidate.liked === true);
            mark(this.element, 'ro-disliked', candidate.liked === false);
            set(this.likeButton, 'aria-pressed', String(candidate.liked === true));
            set(this.dislikeButton, 'aria-pressed', String(candidate.liked === false));
            set(this.main, 'aria-pressed', String(tier > 0));
            set(this.main, 'tabindex', view.focus === this.id || (!view.focus && place === 0) ? '0' : '-1');
            set(this.main, 'aria-label', describe(candidate, place, tier, view));
        }

        source(candidate, preview, view) {
            const wanted = candidate.image ? view.api.image(candidate.image)
                : (preview === undefined || !view.study ? null : view.api.preview(view.study, this.id, preview));
            if (wanted === this.wanted) return;
            this.wanted = wanted;
            if (candidate.image) mark(this.element, 'ro-loaded', false);
            if (wanted) this.image.src = wanted;
            else this.image.removeAttribute('src');
            if (candidate.image && this.image.complete && this.image.naturalWidth) mark(this.element, 'ro-loaded', true);
        }
    }

    /** What a screen reader says of a card. */
    function describe(candidate, place, tier, view) {
        const parts = [`Image ${place + 1}`];
        if (!candidate.image) parts.push('not finished');
        parts.push(tier ? `ranked ${ordinal(tier)}` : 'not ranked');
        if (candidate.liked !== null) parts.push(candidate.liked ? 'liked' : 'disliked');
        if (view.showIncumbent && candidate.id === view.incumbent) parts.push('the incumbent');
        if (view.scores.has(candidate.id)) parts.push(`scored ${ns.scoring.digits(view.scores.get(candidate.id))}`);
        return parts.join(', ');
    }

    class Grid {
        constructor(state, actions, zoom) {
            this.state = state;
            this.actions = actions;
            this.zoom = zoom;
            this.cards = new Map();
            this.columns = 1;
            this.element = h('div', {class: 'ro-grid', role: 'group', 'aria-label': 'Images of this round'});
            this.sizes = new ResizeObserver(() => this.fit());
            this.sizes.observe(this.element);
        }

        focusOn(id) {
            if (this.state.data.focus !== id) this.state.update({focus: id});
        }

        /** Move the focus by an arrow key. */
        move(direction) {
            const list = this.state.cards;
            if (!list.length) return;
            const place = list.findIndex((one) => one.id === this.state.data.focus);
            const next = place < 0 ? 0 : ns.ranking.neighbour(place, direction, this.columns, list.length);
            this.focusOn(list[next].id);
            this.cards.get(list[next].id).main.focus({preventScroll: false});
        }

        draw(data) {
            const list = this.state.cards;
            const round = this.state.shown;
            const view = {
                api: this.state.api, study: data.study && data.study.id, tiers: this.state.tiers, focus: data.focus, showIncumbent: data.showIncumbent,
                incumbent: round && round.incumbent, previews: (data.progress && data.progress.previews) || {},
                scores: this.state.scores.of(round), meaning: this.state.scores.meaning,
            };
            this.reconcile(list);
            list.forEach((candidate, place) => this.cards.get(candidate.id).draw(candidate, place, view));
            mark(this.element, 'ro-closed', round && round.status === 'answered');
            this.fit();
        }

        /** Keep the cards of images that stay, in screen order. */
        reconcile(list) {
            const ids = new Set(list.map((one) => one.id));
            for (const [id, card] of this.cards) {
                if (ids.has(id)) continue;
                card.element.remove();
                this.cards.delete(id);
            }
            list.forEach((candidate, place) => {
                if (!this.cards.has(candidate.id)) this.cards.set(candidate.id, new Card(this, candidate.id));
                const {element} = this.cards.get(candidate.id);
                if (this.element.children[place] !== element) this.element.insertBefore(element, this.element.children[place] || null);
            });
        }

        /** Make the images as big as the window lets them be. */
        fit() {
            const {study} = this.state.data;
            const number = this.state.cards.length;
            const width = this.element.clientWidth;
            if (!study || !number || !width) return;
            const {settings} = study;
            const aspect = settings.width && settings.height ? settings.width / settings.height : 1;
            const {columns, tile} = ns.ranking.layout(number, width, this.room(), aspect, GAP);
            this.columns = columns;
            const key = `${columns}/${tile}/${aspect}`;
            if (key === this.fitted) return;
            this.fitted = key;
            this.element.style.setProperty('--ro-columns', columns);
            this.element.style.setProperty('--ro-tile', `${tile}px`);
            this.element.style.setProperty('--ro-aspect', aspect);
        }

        /** Height that is left for the grid in the window, once the page is scrolled so that the board begins at its top. */
        room() {
            const board = ns.root.getBoundingClientRect();
            const above = this.element.getBoundingClientRect().top - board.top;
            const pageTop = ns.root.classList.contains('ro-full') ? 0 : Math.min(board.top + window.scrollY, window.innerHeight * 0.2);
            const below = this.state.below ? this.state.below() : 90;
            return Math.max(300, window.innerHeight - pageTop - above - below - 16);
        }
    }

    ns.Grid = Grid;
}());
