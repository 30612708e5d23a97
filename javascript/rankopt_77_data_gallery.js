// The Data page: collected images in an endless gallery, with filters, corrections and keys.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.DataGallery) return;

    const {h, set, text, button, plural, token} = ns.base;
    const {said, STATES} = ns.dataWords;
    const PAGE = 100;
    const AT_ONCE = 500; // images that the server corrects in one call
    const TYPED = 300;
    const LABELS = [['any', 'Any feedback'], ['rated', 'with feedback'], ['unrated', 'without feedback'], ['like', 'liked'], ['dislike', 'disliked'], ['compared', 'compared']];

    class DataGallery {
        /** @param {ns.DataPage} page */
        constructor(page) {
            this.page = page;
            this.api = page.api;
            this.cells = new Map();
            this.picked = new Set();
            this.focus = null;
            this.next = 0;
            this.dropped = []; // what was removed last, to bring it back
            this.looking = null; // what shows an image by itself
            this.filter = {collection: '', text: '', label: 'any', rater: '', source: '', model: '', state: ''};
            this.grid = h('div', {class: 'ro-cells', role: 'group', 'aria-label': 'Collected images'});
            this.foot = h('p', {class: 'ro-dim ro-cells-foot', role: 'status'});
            this.detail = new ns.DataDetail(page, this);
            this.count = h('span', {class: 'ro-dim'});
            this.controls = {};
            this.element = h('div', {class: 'ro-data-images', hidden: true}, this.filterBar(), this.toolbar(),
                h('div', {class: 'ro-data-columns'}, h('div', {class: 'ro-cells-side'}, this.grid, this.foot), h('aside', {class: 'ro-data-aside', 'aria-label': 'The image in focus'}, this.detail.element)));
            new IntersectionObserver((seen) => {
                if (seen.some((one) => one.isIntersecting)) this.more();
            }, {rootMargin: '900px'}).observe(this.foot);
        }

        filterBar() {
            const choose = (name, label) => {
                this.controls[name] = h('select', {class: 'ro-select', 'aria-label': label, onchange: (event) => this.wish(name, event.target.value)});
                return this.controls[name];
            };
            let timer = 0;
            this.controls.text = h('input', {class: 'ro-input ro-search', type: 'search', placeholder: 'Words of the caption', 'aria-label': 'Words of the caption', oninput: (event) => {
                clearTimeout(timer);
                timer = setTimeout(() => this.wish('text', event.target.value.trim()), TYPED);
            }});
            return h('div', {class: 'ro-filters', role: 'search', 'aria-label': 'Filter'}, choose('collection', 'Collection'), this.controls.text, choose('label', 'Feedback'),
                choose('rater', 'Rater'), choose('source', 'What labels were concluded from'), choose('model', 'Model'), choose('state', 'File'));
        }

        toolbar() {
            const tool = (label, key, run, name) => button(label, key, run, {icon: name, command: `data_${label.toLowerCase().replace(' ', '_')}`});
            this.dropButton = tool('Remove', 'D', () => this.drop(), 'bin');
            this.undoButton = button('Bring back', 'U', () => this.undrop(), {command: 'data_undrop'});
            return h('div', {class: 'ro-data-tools', role: 'toolbar', 'aria-label': 'Correct'}, tool('Like', 'L', () => this.label('like'), 'like'), tool('Dislike', 'X', () => this.label('dislike'), 'dislike'),
                tool('Caption', 'E', () => this.caption(), 'pen'), this.dropButton, this.undoButton, tool('Look', 'Enter', () => this.look(), 'zoom'), this.count);
        }

        /** Choices of the filter, from what there is. */
        offer(overview) {
            const named = (counts) => Object.entries(counts).map(([name, number]) => [name, `${name} (${number.toLocaleString()})`]);
            const fill = (name, rows) => {
                const control = this.controls[name];
                control.replaceChildren(...rows.map(([value, label]) => h('option', {value}, label)));
                if (this.filter[name] && !rows.some(([value]) => value === this.filter[name])) control.append(h('option', {value: this.filter[name]}, this.filter[name]));
                control.value = this.filter[name];
            };
            const collections = overview.sources.filter((one) => one.collection !== null);
            const sums = (name) => collections.reduce((all, one) => {
                for (const [key, number] of Object.entries(one[name])) all[key] = (all[key] || 0) + number;
                return all;
            }, {});
            fill('collection', [['', 'All collections'], ...collections.map((one) => [String(one.collection), one.name])]);
            fill('label', LABELS);
            fill('rater', [['', 'Any rater'], ...named(sums('raters'))]);
            fill('source', [['', 'Said or concluded'], ...named(sums('labelled_by'))]);
            fill('model', [['', 'Any model'], ...named(sums('models'))]);
            const states = sums('states');
            fill('state', [['', 'Any file'], ...Object.entries(STATES).map(([name, label]) => [name, `${label}${states[name] ? ` (${states[name].toLocaleString()})` : ''}`])]);
            set(this.controls.source, 'hidden', !Object.keys(sums('labelled_by')).length && !this.filter.source);
        }

        /** Change a condition and read anew. */
        wish(name, value) {
            if (this.filter[name] === value) return;
            this.filter[name] = value;
            this.reload();
        }

        // -- reading
        reload() {
            if (this.reading) this.reading.abort();
            this.reading = null;
            this.next = 0;
            this.cells.clear();
            this.grid.replaceChildren();
            this.picked.clear();
            this.focus = null;
            this.detail.show(null);
            this.drawTools();
            this.more();
        }

        async more() {
            if (this.reading || this.next === null || this.page.view !== 'images' || !this.page.control) return;
            const control = this.reading = new AbortController();
            text(this.foot, 'Reading…');
            const wanted = Object.fromEntries(Object.entries({...this.filter, after: this.next, limit: PAGE}).filter(([, value]) => value !== ''));
            try {
                const page = await this.api.get(['data', 'images'], wanted, control.signal);
                if (control.signal.aborted) return;
                this.next = page.next;
                for (const image of page.images) this.add(image);
                if (this.focus === null && page.images.length) this.focusOn(page.images[0].number, false);
                const shown = this.cells.size;
                text(this.foot, this.next !== null ? `${plural(shown, 'image')} so far` : (shown ? `${plural(shown, 'image')}, and no more` : 'No image fits.'));
                this.reading = null;
                // the end of the page may still be in sight
                if (this.next !== null && this.foot.getBoundingClientRect().top < innerHeight + 900) this.more();
            } catch (error) {
                if (control.signal.aborted) return;
                this.reading = null;
                text(this.foot, error.message);
                if (error instanceof ns.Offline) setTimeout(() => this.more(), 2000);
            }
        }

        add(image) {
            if (this.cells.has(image.number)) return;
            const cell = new ns.DataCell(this, image, this.cells.size);
            this.cells.set(image.number, cell);
            cell.draw(image, this.page.rater, false, false);
            this.grid.append(cell.element);
        }

        /** Take over what the server says of some images now. */
        adopt(images) {
            for (const image of images) {
                const cell = this.cells.get(image.number);
                if (cell) this.drawCell(cell, image);
            }
            if (!images.some((image) => image.number === this.focus)) return;
            this.detail.show(this.focus);
            if (this.looking) this.looking.draw();
        }

        /** Somebody else is at the page: other labels are one's own. */
        redraw() {
            for (const cell of this.cells.values()) this.drawCell(cell);
            this.detail.show(this.focus);
        }

        drawCell(cell, image) {
            cell.draw(image || cell.image, this.page.rater, this.picked.has(cell.image.number), cell.image.number === this.focus);
        }

        // -- focus and selection
        focusOn(number, move) {
            const before = this.cells.get(this.focus);
            const cell = this.cells.get(number);
            if (!cell) return;
            if (this.focus !== number) {
                this.focus = number;
                if (before) this.drawCell(before);
                this.drawCell(cell);
                this.detail.show(number);
            }
            if (move) cell.element.focus();
            this.drawTools();
        }

        /** The neighbour of an image in a direction, by number; asks for more at the end. */
        neighbour(number, direction) {
            const numbers = [...this.cells.keys()];
            const columns = getComputedStyle(this.grid).gridTemplateColumns.split(' ').length;
            const place = ns.ranking.neighbour(Math.max(0, numbers.indexOf(number)), direction, columns, numbers.length);
            if (place > numbers.length - 2 * columns) this.more();
            return numbers[place];
        }

        click(image, event) {
            if (event.shiftKey || event.ctrlKey || event.metaKey) {
                this.pick(image.number, event.shiftKey);
                return;
            }
            this.focusOn(image.number, true);
            // without the pane beside it, and with a second click, the image is looked at by itself
            if (event.detail > 1 || !this.detail.element.getClientRects().length) this.look();
        }

        /** Select or deselect; with Shift all from the focus to here. */
        pick(number, through) {
            const numbers = [...this.cells.keys()];
            const [from, to] = [numbers.indexOf(this.focus), numbers.indexOf(number)].sort((a, b) => a - b);
            const some = through && from >= 0 ? numbers.slice(from, to + 1) : [number];
            const on = through || !this.picked.has(number);
            for (const one of some) {
                if (on) this.picked.add(one);
                else this.picked.delete(one);
                this.drawCell(this.cells.get(one));
            }
            this.focusOn(number, true);
        }

        unpick() {
            const some = [...this.picked];
            this.picked.clear();
            for (const one of some) if (this.cells.has(one)) this.drawCell(this.cells.get(one));
            this.drawTools();
            return some.length > 0;
        }

        /** Images that a command is about, as the server has them. */
        get targets() {
            const numbers = this.picked.size ? [...this.picked] : this.focus === null ? [] : [this.focus];
            return numbers.map((number) => this.cells.get(number)).filter(Boolean).map((cell) => cell.image);
        }

        drawTools() {
            text(this.count, this.picked.size ? `${this.picked.size} selected` : '');
            const removed = this.targets.length > 0 && this.targets.every((image) => image.state === 'removed');
            text(this.dropButton.querySelector('.ro-label'), removed ? 'Bring back' : 'Remove');
            set(this.undoButton, 'hidden', !this.dropped.length);
        }

        // -- corrections
        async send(targets, call) {
            if (!targets.length) {
                ns.toast('Choose an image with the arrow keys first.');
                return null;
            }
            try {
                const done = [];
                for (let start = 0; start < targets.length; start += AT_ONCE) done.push(...await call(targets.slice(start, start + AT_ONCE).map((image) => image.number)));
                return done;
            } catch (error) {
                ns.report(error);
                return null;
            }
        }

        /** Like or dislike; a second time takes it away. */
        async label(kind) {
            const {targets} = this;
            const same = targets.length > 0 && targets.every((image) => said(image, this.page.rater) === (kind === 'like' ? 1 : -1));
            const given = same ? 'unlike' : kind;
            const body = {kind: given, rater: this.page.rater, token: token()};
            const done = await this.send(targets, (images) => this.api.persist('POST', ['data', 'images', 'labels'], {...body, images}));
            if (!done) return;
            this.adopt(done);
            ns.say(`${plural(done.length, 'image')} ${{like: 'liked', dislike: 'disliked', unlike: 'without your opinion'}[given]}`);
        }

        caption() {
            const {targets} = this;
            if (!targets.length) return;
            const field = h('textarea', {class: 'ro-input', rows: '4', maxlength: '100000', 'aria-label': 'Caption'});
            field.value = targets[0].prompt;
            ns.dialog(targets.length > 1 ? `Caption of ${plural(targets.length, 'image')}` : 'Caption', field, [
                {label: 'Cancel'},
                {label: 'Save', key: 'Enter', class: 'ro-primary', run: async () => {
                    const done = await this.send(targets, (images) => this.api.patch(['data', 'images'], {images, prompt: field.value}));
                    if (done) this.adopt(done);
                }},
            ]);
            field.select();
        }

        /** Hide images, or bring removed ones back. */
        async drop() {
            const {targets} = this;
            const back = targets.length > 0 && targets.every((image) => image.state === 'removed');
            const done = await this.send(targets, (images) => this.api.post(['data', 'images', back ? 'restore' : 'remove'], {images}));
            if (!done) return;
            const numbers = done.map((image) => image.number);
            if (!back) this.dropped = numbers;
            this.leave(numbers, done);
            ns.toast(back ? `${plural(done.length, 'image')} brought back.` : `${plural(done.length, 'image')} removed; the files stay. U brings them back.`);
        }

        async undrop() {
            if (!this.dropped.length) return;
            const numbers = this.dropped.map((number) => ({number}));
            const done = await this.send(numbers, (images) => this.api.post(['data', 'images', 'restore'], {images}));
            if (!done) return;
            this.dropped = [];
            ns.toast(`${plural(done.length, 'image')} brought back.`);
            this.reload();
        }

        /** Images that do not fit the filter any more go; the focus moves on to the next one. */
        leave(numbers, now) {
            const gone = new Set(now.filter((image) => (this.filter.state ? image.state !== this.filter.state : image.state === 'removed')).map((image) => image.number));
            const order = [...this.cells.keys()];
            const from = order.indexOf(this.focus);
            const stays = (number) => !gone.has(number);
            const next = order.slice(from + 1).find(stays) || order.slice(0, from).reverse().find(stays) || null;
            for (const number of gone) {
                const cell = this.cells.get(number);
                if (cell) cell.element.remove();
                this.cells.delete(number);
                this.picked.delete(number);
            }
            this.adopt(now.filter((image) => stays(image.number)));
            if (gone.has(this.focus)) {
                this.focus = null;
                if (next === null) this.detail.show(null);
                else this.focusOn(next, !ns.topOverlay());
            }
            this.drawTools();
            this.more();
        }

        look() {
            if (this.focus !== null) new ns.DataLook(this.page, this);
        }

        // -- keys
        /** Take a key of the gallery; returns whether it meant something. */
        key(event) {
            if (event.ctrlKey || event.altKey || event.metaKey) return false;
            if (event.key.startsWith('Arrow')) {
                const next = this.focus === null ? [...this.cells.keys()][0] : this.neighbour(this.focus, event.key);
                if (next !== undefined) {
                    if (event.shiftKey) this.pick(next, true);
                    else this.focusOn(next, true);
                }
                return true;
            }
            const run = {
                l: () => this.label('like'), x: () => this.label('dislike'), d: () => this.drop(), e: () => this.caption(), u: () => this.undrop(),
                enter: () => this.look(), ' ': () => this.focus !== null && this.pick(this.focus, false),
            }[event.key.toLowerCase()];
            if (!run) return event.key === 'Escape' && this.unpick();
            if (!event.repeat) run();
            return true;
        }
    }

    ns.DataGallery = DataGallery;
}());
