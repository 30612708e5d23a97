// Comparing a few images at a time: the next ones are there before they are wanted, and answers are sent while the next ones are looked at.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.RankView) return;

    const {h, set, text, mark, button, token, sleep} = ns.base;
    const AHEAD = 2; // comparisons that are ready besides the one on screen
    const GAP = 12;
    const WINDOW = 'rankopt:window';

    /** Tells this window from others of the same person; the same after a reload. */
    function windowName() {
        if (!sessionStorage.getItem(WINDOW)) sessionStorage.setItem(WINDOW, token().slice(0, 12));
        return sessionStorage.getItem(WINDOW);
    }

    class RankView {
        constructor(page) {
            this.page = page;
            this.api = page.api;
            this.queue = [];
            this.shown = null;
            this.tiers = [];
            this.armed = null; // a label that waits for its image
            this.hovered = null; // the image under a pointer that was moved since it was shown
            this.epoch = 0; // changes when what is on its way is not wanted any more
            this.turn = 0; // changes when something else is to be shown
            this.finished = null; // number of images when nothing was left to compare
            this.outbox = new ns.Outbox(this.api, (number, progress) => this.answered(number, progress));
            this.contenders = [];
            this.build();
        }

        build() {
            const tool = (label, key, name, run) => button(label, key, run, {icon: name, iconOnly: true});
            this.name = h('h2', {class: 'ro-name'});
            this.progress = h('span', {class: 'ro-dim ro-meta', role: 'status'});
            this.job = h('div', {class: 'ro-status', hidden: true, role: 'status'});
            this.stage = h('div', {class: 'ro-contenders', role: 'group', 'aria-label': 'Images to compare'});
            this.empty = h('div', {class: 'ro-nothing', hidden: true});
            this.prompt = h('p', {class: 'ro-dim ro-asked'});
            this.hint = h('span', {class: 'ro-dim ro-placed', 'aria-live': 'polite'});
            this.undoButton = button('Undo', 'Z', () => this.undo(), {class: 'ro-quiet', command: 'folder_undo'});
            this.skipButton = button('Skip', 'S', () => this.skip(), {class: 'ro-quiet', command: 'folder_skip'});
            this.equalButton = button('Equal', '=', () => this.equal(), {class: 'ro-quiet', command: 'folder_equal'});
            this.done = button('Done', 'Enter', () => this.confirm(), {class: 'ro-primary', command: 'folder_done'});
            this.bar = h('header', {class: 'ro-bar'}, button('Studies', null, () => this.page.home(), {icon: 'back', class: 'ro-quiet', command: 'studies'}),
                h('div', {class: 'ro-title'}, this.name, this.progress),
                h('div', {class: 'ro-toolbar', role: 'toolbar', 'aria-label': 'Ranking'}, button('Results', null, () => this.page.show('results'), {icon: 'crown', command: 'folder_results'}),
                    tool('How it is ranked', null, 'pen', () => this.page.askSettings()), tool('Fill the window', 'F', 'full', () => this.full()), tool('Keys', '?', 'help', () => ns.openRankHelp())));
            this.foot = h('div', {class: 'ro-actions', role: 'toolbar', 'aria-label': 'Answer'}, this.undoButton, this.skipButton, this.equalButton, this.hint, this.done);
            this.element = h('section', {class: 'ro-page ro-duel', hidden: true}, this.bar, this.job, this.stage, this.empty, this.prompt, this.foot);
            new ResizeObserver(() => this.fit()).observe(this.element);
            addEventListener('resize', () => this.fit());
        }

        get path() {
            return ['data', 'collections', String(this.page.view.number)];
        }

        get layout() {
            return this.page.view.settings.layout;
        }

        // -- begin and end
        begin() {
            this.drawHead();
            this.outbox.flush();
            if (!this.shown) this.restart();
            this.fit();
        }

        /** Pause: nothing is kept but what was answered. */
        stop() {
            this.epoch += 1;
            this.turn += 1;
            this.queue = [];
            this.filling = null; // what still comes is of another collection, or of other settings
            this.clear();
        }

        clear() {
            this.shown = null;
            this.tiers = [];
            this.armed = null;
        }

        /** Ask for new comparisons, as after a change of the settings. */
        restart() {
            this.stop();
            this.draw();
            this.advance();
        }

        // -- what is next
        /** Show the next comparison, as soon as there is one. */
        async advance() {
            const turn = ++this.turn;
            this.clear();
            this.finished = null;
            while (turn === this.turn) {
                if (this.queue.length) {
                    this.put(this.queue.shift());
                    this.fill();
                    return;
                }
                const came = await this.fill();
                if (turn !== this.turn) return;
                if (came) continue;
                if (came === 0 && !this.page.busy) {
                    this.finished = this.page.view.progress.images;
                    this.draw();
                    return;
                }
                this.draw();
                await sleep(1200);
            }
        }

        put(comparison) {
            this.shown = comparison;
            this.hovered = null;
            comparison.since = null;
            this.draw();
            this.fit();
            Promise.all(comparison.images.map((one) => one.loaded)).then(() => {
                if (this.shown !== comparison) return;
                comparison.since = performance.now();
                this.fit();
                set(this.stage, 'data-ready', comparison.token);
            });
            ns.say(`Compare ${comparison.images.length} images`);
        }

        /** Have the next ones ready. Returns how many came, null where the server is away. */
        fill() {
            if (this.filling) return this.filling;
            const missing = AHEAD + (this.shown ? 0 : 1) - this.queue.length;
            if (missing < 1) return Promise.resolve(0);
            const {epoch} = this;
            const held = [this.shown, ...this.queue].filter(Boolean).map((one) => one.token).concat(this.outbox.tokens);
            const query = {rater: ns.rater.name, count: missing, window: windowName(), held: held.join(',')};
            const filling = this.filling = this.api.get([...this.path, 'next'], query).then((found) => {
                if (epoch === this.epoch) this.queue.push(...found.map((one) => this.ready(one)));
                return found.length;
            }).catch((error) => {
                if (error instanceof ns.Offline) return null;
                ns.report(error);
                return 0;
            }).finally(() => {
                if (this.filling === filling) this.filling = null;
            });
            return filling;
        }

        /** A comparison whose images are on their way. */
        ready(comparison) {
            return {...comparison, images: comparison.images.map((image) => ns.preload(this.api, image))};
        }

        // -- answers
        choose(place, tie) {
            const {shown} = this;
            if (!shown || place >= shown.images.length) return;
            if (this.armed) {
                this.label(place, this.armed);
                return;
            }
            this.tiers = ns.ranking.toggle(this.tiers, place, tie);
            if (ns.comparing.isWhole(this.layout, shown.images.length, this.tiers)) this.answer(this.tiers);
            else this.draw();
        }

        /** The rest is equal: all of them where nothing is placed. */
        equal() {
            if (this.shown) this.answer(this.tiers);
        }

        confirm() {
            if (this.shown && this.tiers.length) this.answer(this.tiers);
        }

        answer(tiers) {
            this.send({tiers: ns.comparing.complete(this.shown.images.length, tiers)});
        }

        skip() {
            if (this.shown) this.send({skip: true});
        }

        send(said) {
            const {shown} = this;
            const latency = shown.since === null ? null : Math.round(performance.now() - shown.since);
            this.post('answers', {token: shown.token, rater: ns.rater.name, images: shown.images.map((one) => one.number), latency_ms: latency, ...said});
            this.advance();
        }

        label(place, kind) {
            const image = this.shown && this.shown.images[place];
            if (!image) return;
            this.armed = null;
            const taken = image.label === kind;
            image.label = taken ? '' : kind;
            this.post('labels', {token: token(), rater: ns.rater.name, image: image.number, label: taken ? 'unlike' : kind});
            this.draw();
        }

        /** Send in the background. */
        post(what, body) {
            this.outbox.add([this.page.view.number, what, body]);
        }

        /** How far it is now, as the server has said to an answer. */
        answered(number, progress) {
            if (!this.page.view || this.page.view.number !== number) return;
            this.page.view.progress = progress;
            this.drawHead();
        }

        /** Take the last answer back; its images come again. */
        async undo() {
            if (this.tiers.length) {
                this.tiers = this.tiers.slice(0, -1);
                this.draw();
                return;
            }
            if (this.undoing) return;
            this.undoing = true;
            const {path, epoch} = this; // it may be left, or another one opened, before the answers are sent
            try {
                await this.outbox.sending;
                const done = await this.api.post([...path, 'undo'], {rater: ns.rater.name, token: token(), window: windowName()});
                if (epoch !== this.epoch) return;
                this.page.view.progress = done.progress;
                this.drawHead();
                if (done.comparison) this.again(done.comparison);
                else this.unlabelled(done);
            } catch (error) {
                ns.report(error);
            } finally {
                this.undoing = false;
            }
        }

        again(comparison) {
            if (this.shown) this.queue.unshift(this.shown);
            this.turn += 1;
            this.clear();
            this.put(this.ready(comparison));
        }

        unlabelled(done) {
            for (const comparison of [this.shown, ...this.queue]) {
                for (const image of comparison ? comparison.images : []) if (image.number === done.image) image.label = '';
            }
            ns.say(`The ${done.kind} was taken back`);
            this.draw();
        }

        // -- keys
        key(event) {
            const number = this.shown ? this.shown.images.length : 0;
            const command = ns.comparing.command(event, number);
            if (!command) return false;
            if (event.repeat) return true; // a key held down must not answer what nobody has seen
            const run = {
                choose: () => this.choose(command.place, command.tie),
                move: () => this.move(command.direction),
                equal: () => this.equal(),
                confirm: () => this.confirm(),
                skip: () => this.skip(),
                undo: () => this.undo(),
                like: () => this.arm('like'),
                dislike: () => this.arm('dislike'),
                full: () => this.full(),
                help: () => ns.openRankHelp(),
                escape: () => this.escape(),
            }[command.name];
            run();
            return true;
        }

        /** Label the image under the pointer or with the focus, or the one that is named next. */
        arm(kind) {
            if (!this.shown) return;
            const focused = this.contenders.findIndex((one) => one.element.contains(document.activeElement));
            if (this.hovered !== null) this.label(this.hovered, kind);
            else if (focused >= 0) this.label(focused, kind);
            else {
                this.armed = this.armed === kind ? null : kind;
                this.draw();
            }
        }

        move(direction) {
            const visible = this.contenders.slice(0, this.shown ? this.shown.images.length : 0);
            if (!visible.length) return;
            const place = visible.findIndex((one) => one.main === document.activeElement);
            visible[place < 0 ? 0 : ns.ranking.neighbour(place, direction, this.columns || 1, visible.length)].main.focus();
        }

        full() {
            this.page.state.update({full: !this.page.state.data.full});
            this.fit();
        }

        escape() {
            if (this.armed) {
                this.armed = null;
                this.draw();
            } else if (this.tiers.length) {
                this.tiers = [];
                this.draw();
            } else if (this.page.state.data.full) this.full();
            else this.page.home();
        }

        // -- drawing
        drawHead() {
            const {view} = this.page;
            if (!view) return;
            text(this.name, view.name);
            set(this.name, 'title', view.root);
            text(this.progress, ns.comparing.progressWords(view.progress));
            const words = ns.jobWords(view.job);
            text(this.job, words);
            set(this.job, 'hidden', !words);
            if (this.finished !== null && this.finished !== view.progress.images && !this.element.hidden) this.advance();
        }

        draw() {
            const {shown, page} = this;
            const images = shown ? shown.images : [];
            while (this.contenders.length < images.length) this.contenders.push(new ns.Contender(this, this.contenders.length));
            const elements = this.contenders.slice(0, images.length).map((one) => one.element);
            if (elements.length !== this.stage.children.length) this.stage.replaceChildren(...elements);
            images.forEach((image, place) => this.contenders[place].draw(image, this.tiers));
            const prompts = new Set(images.map((one) => one.prompt));
            text(this.prompt, prompts.size === 1 ? [...prompts][0] : '');
            set(this.prompt, 'title', this.prompt.textContent || null);
            text(this.hint, page.view && shown ? this.hintWords(images.length) : '');
            set(this.done, 'hidden', !page.view || this.layout !== 'list');
            mark(this.done, 'ro-ready', this.tiers.length > 0);
            for (const one of [this.skipButton, this.equalButton]) set(one, 'disabled', !shown);
            this.drawEmpty();
        }

        hintWords(number) {
            if (this.armed) return `${this.armed === 'like' ? 'Like' : 'Dislike'} which one? Press 1 to ${number}`;
            if (this.layout !== 'list') return number === 2 ? 'Which one is better? ← or →' : `Which one is best? Press 1 to ${number}`;
            const placed = ns.ranking.count(this.tiers);
            return placed ? `${placed} of ${number} placed; Enter leaves the rest equal` : `Press 1 to ${number}, best first`;
        }

        drawEmpty() {
            const {view} = this.page;
            const nothing = Boolean(view && !this.shown && !this.filling);
            set(this.empty, 'hidden', !nothing || this.queue.length > 0);
            if (!nothing) return;
            const words = this.page.busy ? 'Images are being taken in…'
                : (view.progress.comparisons ? 'You have compared everything that there is to compare here.' : 'There is nothing to compare: no two images that belong together.');
            this.empty.replaceChildren(h('p', {}, words), button('Results', null, () => this.page.show('results'), {class: 'ro-primary'}));
        }

        /** Make the images as big as the window lets them be. */
        fit() {
            if (!this.shown || this.element.hidden || !this.stage.clientWidth) return;
            const aspects = this.shown.images.map((one) => {
                const width = one.element.naturalWidth || one.width;
                const height = one.element.naturalHeight || one.height;
                return width && height ? width / height : 1;
            });
            const {columns, wide, high} = ns.comparing.arrange(aspects, this.stage.clientWidth, this.space(), GAP);
            this.columns = columns;
            this.stage.style.setProperty('--ro-columns', columns);
            this.stage.style.setProperty('--ro-high', `${high}px`);
            this.stage.style.setProperty('--ro-wide', `${wide}px`);
        }

        /** Height that is left for the images in the window. */
        space() {
            const root = ns.root.getBoundingClientRect();
            const above = this.stage.getBoundingClientRect().top - root.top;
            const pageTop = ns.root.classList.contains('ro-full') ? 12 : Math.min(root.top + window.scrollY, window.innerHeight * 0.2);
            return Math.max(240, window.innerHeight - pageTop - above - this.foot.offsetHeight - this.prompt.offsetHeight - 36);
        }
    }

    ns.RankView = RankView;
}());
