// Full-screen viewer: one, two or four images with one zoom and pan for all; ranking goes on inside it.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.openViewer) return;

    const {h, set, text, mark, button, clamp} = ns.base;
    const MAX_ZOOM = 16;

    /** Zoom and pan, the same for every pane; x and y are shifts in parts of the pane's size. */
    class View {
        constructor() {
            this.reset();
        }

        reset() {
            this.scale = 1;
            this.x = 0;
            this.y = 0;
        }

        /** Zoom by a factor around a point given in parts of the pane, measured from its middle. */
        zoom(factor, px, py) {
            const scale = clamp(this.scale * factor, 1, MAX_ZOOM);
            const real = scale / this.scale;
            this.x = px - (px - this.x) * real;
            this.y = py - (py - this.y) * real;
            this.scale = scale;
            this.hold();
        }

        pan(dx, dy) {
            this.x += dx;
            this.y += dy;
            this.hold();
        }

        /** Keep the picture in the pane. */
        hold() {
            const edge = (this.scale - 1) / 2;
            this.x = clamp(this.x, -edge, edge);
            this.y = clamp(this.y, -edge, edge);
        }

        get css() {
            return `translate(${this.x * 100}%, ${this.y * 100}%) scale(${this.scale})`;
        }
    }

    class Viewer {
        constructor(state, actions, ids, panes) {
            this.state = state;
            this.actions = actions;
            this.view = new View();
            this.pointers = new Map();
            this.ids = ids;
            this.active = 0;
            this.overlay = new ns.Overlay('Zoomed images', 'ro-viewer');
            this.overlay.onKey = (command, event) => this.key(command, event);
            this.stage = h('div', {class: 'ro-stage', tabindex: '-1'});
            this.film = h('div', {class: 'ro-film', role: 'group', 'aria-label': 'Images of this round'});
            this.modes = [[1, 'one', 'One'], [2, 'split', 'Two side by side'], [4, 'four', 'Four']].map(([number, name, label]) => {
                const element = button(label, null, () => this.show(number), {icon: name, iconOnly: true});
                element.dataset.panes = number;
                return element;
            });
            this.chosen = button('How this image was chosen', 'H', () => ns.openChosen(this.state, this.ids[this.active]), {icon: 'tree', iconOnly: true, command: 'chosen'});
            this.hear();
            this.overlay.open(h('div', {class: 'ro-viewbar'},
                h('div', {class: 'ro-modes', role: 'group', 'aria-label': 'How many at once'}, this.modes),
                h('span', {class: 'ro-hint'}, '1–9 rank · R this one · Shift ties · ← → move · Tab pane · C how many · + − zoom'),
                this.chosen, button('Go on with the image', 'E', () => ns.openUse(this.state, this.ids[this.active]), {icon: 'use', iconOnly: true}),
                button('Close', 'Esc', () => this.overlay.close(), {icon: 'close', iconOnly: true})),
            this.stage, this.film);
            this.stage.focus();
            this.show(panes);
        }

        get cards() {
            return this.state.cards.filter((one) => one.image);
        }

        /** Show so many panes, from the active image on. */
        show(panes) {
            const list = this.cards;
            const number = Math.min(panes, Math.max(1, list.length));
            const keep = this.ids.slice(this.active).concat(this.ids.slice(0, this.active)).slice(0, number);
            for (const one of list) {
                if (keep.length >= number) break;
                if (!keep.includes(one.id)) keep.push(one.id);
            }
            const place = (id) => list.findIndex((one) => one.id === id);
            this.ids = keep.sort((a, b) => place(a) - place(b));
            this.active = 0;
            this.build();
        }

        build() {
            this.panes = this.ids.map((id, index) => {
                const image = h('img', {class: 'ro-full-image', alt: '', draggable: 'false'});
                const badge = h('span', {class: 'ro-badge', 'aria-hidden': 'true'});
                const keycap = h('kbd', {class: 'ro-place', 'aria-hidden': 'true'});
                const score = h('span', {class: 'ro-score', 'aria-hidden': 'true'});
                const rank = h('button', {type: 'button', class: 'ro-pane-rank', onclick: (event) => {
                    event.currentTarget.blur();
                    this.actions.rank(this.ids[index], event.shiftKey || event.ctrlKey || event.metaKey);
                }}, 'Rank');
                const element = h('div', {class: 'ro-pane', onpointerdown: () => this.activate(index)}, image, badge, keycap, score, rank);
                return {element, image, badge, keycap, score, rank};
            });
            this.stage.replaceChildren(...this.panes.map((pane) => pane.element));
            set(this.stage, 'data-panes', this.ids.length);
            this.draw();
        }

        activate(index) {
            this.active = index;
            this.draw();
        }

        draw() {
            const list = this.state.cards;
            const {tiers} = this.state;
            const scores = this.state.scores.of(this.state.shown);
            if (!this.ids.every((id) => list.some((one) => one.id === id))) {
                this.overlay.close();
                return;
            }
            this.panes.forEach((pane, index) => {
                const place = list.findIndex((one) => one.id === this.ids[index]);
                const tier = ns.ranking.tierOf(tiers, this.ids[index]);
                const {image} = list[place];
                if (image) set(pane.image, 'src', this.state.api.image(image));
                pane.image.style.transform = this.view.css;
                text(pane.badge, tier || '');
                text(pane.keycap, place < 10 ? (place + 1) % 10 : '');
                text(pane.rank, tier ? 'Take back' : 'Rank');
                ns.drawScore(pane.score, scores.get(this.ids[index]), this.state.scores.meaning);
                mark(pane.element, 'ro-ranked', tier > 0);
                mark(pane.element, 'ro-first', tier === 1);
                mark(pane.element, 'ro-liked', list[place].liked === true);
                mark(pane.element, 'ro-disliked', list[place].liked === false);
                mark(pane.element, 'ro-active', index === this.active && this.ids.length > 1);
                set(pane.image, 'alt', `Image ${place + 1}${tier ? `, ranked ${tier}` : ''}`);
            });
            for (const mode of this.modes) set(mode, 'aria-pressed', String(Number(mode.dataset.panes) === this.ids.length));
            const active = list.find((one) => one.id === this.ids[this.active]);
            set(this.chosen, 'hidden', !active.selected);
            this.drawFilm(list, tiers);
        }

        drawFilm(list, tiers) {
            if (this.film.children.length !== list.length) {
                this.film.replaceChildren(...list.map((one) => h('button', {type: 'button', class: 'ro-frame', onclick: (event) => {
                    event.currentTarget.blur();
                    this.put(one.id);
                }}, h('img', {alt: '', draggable: 'false'}), h('span', {class: 'ro-badge'}))));
            }
            list.forEach((one, place) => {
                const frame = this.film.children[place];
                const tier = ns.ranking.tierOf(tiers, one.id);
                if (one.image) set(frame.firstChild, 'src', this.state.api.image(one.image));
                text(frame.lastChild, tier || '');
                mark(frame, 'ro-ranked', tier > 0);
                mark(frame, 'ro-first', tier === 1);
                mark(frame, 'ro-here', this.ids.includes(one.id));
                set(frame, 'aria-label', `Image ${place + 1}${tier ? `, ranked ${tier}` : ''}`);
                set(frame, 'disabled', !one.image);
            });
        }

        /** Put an image into the active pane. */
        put(id) {
            const there = this.ids.indexOf(id);
            if (there >= 0) this.active = there;
            else this.ids[this.active] = id;
            this.draw();
        }

        /** The next image that no pane shows. */
        step(by) {
            const list = this.cards;
            let place = list.findIndex((one) => one.id === this.ids[this.active]);
            for (let tries = 0; tries < list.length; tries++) {
                place = (place + by + list.length) % list.length;
                if (!this.ids.includes(list[place].id)) {
                    this.put(list[place].id);
                    return;
                }
            }
        }

        key(command, event) {
            const id = this.ids[this.active];
            if (event.key === 'Tab' && this.ids.length > 1) {
                this.activate((this.active + (event.shiftKey ? this.ids.length - 1 : 1)) % this.ids.length);
                return true;
            }
            if (!command) return false;
            if (event.repeat && !['move', 'zoom_in', 'zoom_out'].includes(command.name)) return true;
            if (command.name === 'move' && event.shiftKey && this.view.scale > 1) {
                this.pan(command.direction);
                return true;
            }
            const run = {
                place: () => this.actions.place(command.place, command.tie),
                rank: () => this.actions.rank(id, command.tie),
                like: () => this.actions.like(id, true),
                dislike: () => this.actions.like(id, false),
                tie: () => this.state.update({tie: !this.state.data.tie}),
                undo: () => this.actions.undo(),
                use: () => ns.openUse(this.state, id),
                chosen: () => ns.openChosen(this.state, id),
                scores: () => ns.openScores(this.state),
                move: () => this.arrow(command.direction),
                compare: () => this.show({1: 2, 2: 4, 4: 1}[this.ids.length] || 1),
                zoom_in: () => this.scale(1.4, 0, 0),
                zoom_out: () => this.scale(1 / 1.4, 0, 0),
                zoom: () => this.overlay.close(),
                escape: () => this.overlay.close(),
                confirm: () => {
                    this.overlay.close();
                    this.actions.confirm();
                },
            }[command.name];
            if (run) run();
            return Boolean(run);
        }

        arrow(direction) {
            if (direction === 'ArrowLeft') this.step(-1);
            else if (direction === 'ArrowRight') this.step(1);
            else if (this.view.scale > 1) this.scale(direction === 'ArrowUp' ? 1.25 : 0.8, 0, 0);
        }

        /** Look further in a direction, by a part of the pane. */
        pan(direction) {
            const [dx, dy] = {ArrowLeft: [0.15, 0], ArrowRight: [-0.15, 0], ArrowUp: [0, 0.15], ArrowDown: [0, -0.15]}[direction];
            this.view.pan(dx, dy);
            this.draw();
        }

        scale(factor, px, py) {
            this.view.zoom(factor, px, py);
            this.draw();
        }

        /** Wheel, drag, pinch, double click, swipe. */
        hear() {
            this.stage.addEventListener('wheel', (event) => {
                event.preventDefault();
                const at = this.point(event);
                if (at) this.scale(Math.exp(-event.deltaY * 0.0016), at.x, at.y);
            }, {passive: false});
            this.stage.addEventListener('dblclick', (event) => {
                const at = this.point(event);
                if (!at) return;
                if (this.view.scale > 1) this.view.reset();
                else this.view.zoom(3, at.x, at.y);
                this.draw();
            });
            this.stage.addEventListener('pointerdown', (event) => {
                this.pointers.set(event.pointerId, event);
                this.swipe = {x: event.clientX, y: event.clientY};
            });
            this.stage.addEventListener('pointermove', (event) => this.drag(event));
            for (const name of ['pointerup', 'pointercancel', 'pointerleave']) {
                this.stage.addEventListener(name, (event) => this.release(event));
            }
        }

        /** Where an event lies in its pane, in parts of the pane from its middle. */
        point(event) {
            const pane = event.target.closest('.ro-pane');
            if (!pane) return null;
            const box = pane.getBoundingClientRect();
            return {x: (event.clientX - box.left) / box.width - 0.5, y: (event.clientY - box.top) / box.height - 0.5, box};
        }

        drag(event) {
            const before = this.pointers.get(event.pointerId);
            const at = before && this.point(event);
            if (!at) return;
            if (this.pointers.size === 2) {
                const other = [...this.pointers.values()].find((one) => one.pointerId !== event.pointerId);
                const far = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
                if (far(before) > 0) this.view.zoom(far(event) / far(before), at.x, at.y);
            } else {
                this.view.pan((event.clientX - before.clientX) / at.box.width, (event.clientY - before.clientY) / at.box.height);
            }
            this.pointers.set(event.pointerId, event);
            this.draw();
        }

        release(event) {
            const single = this.pointers.size === 1 && this.pointers.delete(event.pointerId);
            this.pointers.delete(event.pointerId);
            if (!single || event.type !== 'pointerup' || this.view.scale > 1 || !this.swipe) return;
            const dx = event.clientX - this.swipe.x;
            if (Math.abs(dx) > 60 && Math.abs(dx) > 2 * Math.abs(event.clientY - this.swipe.y)) this.step(dx < 0 ? 1 : -1);
        }
    }

    /** Open the viewer on an image; `panes` is 1, 2 or 4. */
    ns.openViewer = function (state, actions, id, panes) {
        const there = state.cards.filter((one) => one.image);
        if (!there.length) {
            ns.toast('There is no finished image yet.');
            return null;
        }
        const best = state.tiers.flat().filter((one) => there.some((card) => card.id === one));
        const wanted = panes > 1 && !id ? best.slice(0, panes) : [id || there[0].id];
        const start = wanted.filter((one) => there.some((card) => card.id === one));
        const viewer = new Viewer(state, actions, start.length ? start : [there[0].id], panes);
        viewer.overlay.redraw = () => viewer.draw();
        return viewer;
    };
    ns.ViewerView = View;
}());
