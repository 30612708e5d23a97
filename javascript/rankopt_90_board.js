// Puts the board into its container, whenever gradio has made one, and hands keys to whatever lies on top.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.board) return;

    const {h, mark, set} = ns.base;
    const CONTAINER = 'rankopt_board';
    const SELECTION = 'settings.selection.';

    class Board {
        constructor(container) {
            this.api = new ns.Api(container.dataset.api || 'rankopt/v1');
            this.state = new ns.State(this.api);
            this.state.scores = new ns.Scores(this.state);
            this.actions = new ns.Actions(this.state);
            ns.root = this.root = h('div', {class: 'ro-root'});
            this.homePage = new ns.Home(this.state, this.actions);
            this.page = new ns.StudyPage(this.state, this.actions, this);
            this.training = new ns.TrainingPage(this.state, () => this.home());
            this.dataPage = new ns.DataPage(this.state, () => this.home());
            this.folders = new ns.FolderPage(this.state, () => this.home());
            this.homePage.element.append(this.folders.shelf);
            this.root.append(this.homePage.element, this.page.element, this.training.element, this.dataPage.element, this.folders.element, ...ns.noteElements);
            this.state.subscribe((data) => this.draw(data));
            this.draw(this.state.data);
        }

        /** First reading; a page that was reloaded goes on with its study. */
        async begin() {
            this.actions.flush();
            this.folders.load().catch(() => {}); // asked for again whenever the list is shown
            const open = sessionStorage.getItem('rankopt:open');
            try {
                if (open) await this.state.visit(open);
                else await this.state.loadStudies();
            } catch (error) {
                if (error instanceof ns.Offline) {
                    setTimeout(() => this.begin(), 1500);
                    return;
                }
                sessionStorage.removeItem('rankopt:open');
                if (!open) ns.report(error);
                this.state.loadStudies().catch(ns.report);
            }
        }

        draw(data) {
            const inStudy = Boolean(data.study);
            const elsewhere = [this.training.draw(data), this.dataPage.draw(data), this.folders.draw(data)].some(Boolean);
            set(this.homePage.element, 'hidden', inStudy || elsewhere);
            set(this.page.element, 'hidden', !inStudy);
            mark(document.body, 'rankopt-in-study', inStudy || elsewhere);
            mark(this.root, 'ro-full', (inStudy || data.page === 'folder') && data.full);
            if (inStudy) this.state.scores.follow();
            if (inStudy) this.page.draw(data);
            else this.homePage.draw(data);
            this.followPicks(data);
            this.noteReady();
            const top = ns.topOverlay();
            if (top && top.redraw) top.redraw();
        }

        /** Show the choices of a round in which a person picks, as long as it is being made. */
        followPicks(data) {
            if (ns.selection.asks(data.study, this.state.current)) ns.picks.watch('board', () => true, () => this.actions.interrupt());
            else ns.picks.leave('board');
        }

        /** When a round is whole on screen, the clock of its answer starts. */
        noteReady() {
            const round = this.state.current;
            if (!round || round.status !== 'ready') return;
            const key = this.state.draftKey(round);
            if (!this.actions.readyAt.has(key)) this.actions.readyAt.set(key, performance.now());
        }

        home() {
            this.training.close();
            this.dataPage.close();
            this.folders.close();
            this.state.close();
            this.state.loadStudies().catch(ns.report);
        }

        get visible() {
            return this.root.isConnected && this.root.getClientRects().length > 0;
        }

        /** Do what a key or a button asks for. Returns whether it meant something here. */
        run(command) {
            const {state, actions} = this;
            const {data} = state;
            if (!data.study) return this.training.key(command) || (command.name === 'help' && (ns.openHelp(), true));
            const focus = data.focus;
            const run = {
                place: () => actions.place(command.place, command.tie),
                rank: () => focus && actions.rank(focus, command.tie),
                like: () => (focus ? actions.like(focus, true) : ns.toast('Choose an image with the arrow keys first.')),
                dislike: () => (focus ? actions.like(focus, false) : ns.toast('Choose an image with the arrow keys first.')),
                move: () => this.page.grid.move(command.direction),
                zoom: () => ns.openViewer(state, actions, focus, 1),
                compare: () => ns.openViewer(state, actions, null, 2),
                slider: () => ns.openSlider(state),
                blind: () => ns.openBlind(state),
                auto: () => ns.openAuto(state, actions),
                tie: () => state.update({tie: !data.tie}),
                incumbent: () => state.update({showIncumbent: !data.showIncumbent}),
                use: () => ns.openUse(state, focus),
                chosen: () => ns.openChosen(state, focus),
                scores: () => ns.openScores(state),
                full: () => state.update({full: !data.full}),
                help: () => ns.openHelp(),
                undo: () => actions.undo(),
                skip: () => actions.skip(),
                none_better: () => actions.noneBetter(),
                confirm: () => actions.confirm(),
                interrupt: () => actions.interrupt(),
                escape: () => this.escape(),
            }[command.name];
            if (!run) return false;
            return run() !== false;
        }

        escape() {
            const current = this.state.current;
            if (this.state.data.looking !== null) this.actions.look(this.state.current.index);
            else if (current && ['queued', 'generating'].includes(current.status)) this.actions.interrupt();
            else if (this.state.data.full) this.state.update({full: false});
            else return false;
            return true;
        }
    }

    /** Is the person writing, or using a control that has its own keys? */
    function busyWith(target, event) {
        if (!(target instanceof Element)) return false;
        if (target.isContentEditable || target.closest('textarea, select, input:not([type=range]):not([type=checkbox]):not([type=radio]):not([type=button])')) return event.key !== 'Escape' && event.key !== 'Enter' ? true : !target.closest('.ro-dialog');
        const presses = event.key === 'Enter' || event.key === ' ';
        return presses && Boolean(target.closest('button, a, summary, [role=button]')) && !target.closest('.ro-pick, .ro-option, .ro-cell');
    }

    function onKeydown(event) {
        const {board} = ns;
        if (!board || event.isComposing || !board.visible || busyWith(event.target, event)) return;
        const overlay = ns.topOverlay();
        const inBoard = board.root.contains(event.target) || event.target === document.body || event.target === document.documentElement;
        const command = ns.keys.command(event);
        if (overlay) {
            if (overlay.onKey && overlay.onKey(command, event)) stop(event);
            return;
        }
        if (inBoard && (board.folders.key(event) || (board.dataPage.control && board.dataPage.key(event)))) {
            stop(event);
            return;
        }
        if (!command || (!inBoard && event.target.closest && event.target.closest('input, button, a'))) return;
        if (event.repeat && command.name !== 'move') {
            if (board.state.data.study) stop(event);
            return;
        }
        if (board.run(command)) stop(event);
    }

    function stop(event) {
        event.preventDefault();
        event.stopPropagation();
    }

    /** Light or dark as the host is. */
    function followTheme() {
        if (ns.root) set(ns.root, 'data-theme', ns.base.dark() ? 'dark' : 'light');
    }

    /** Put the board into its container; called again and again, does nothing where all is in place. */
    function mount() {
        const container = document.getElementById(CONTAINER);
        if (!container) return;
        const first = !ns.board;
        if (first) {
            ns.board = new Board(container);
            addEventListener('keydown', onKeydown, true);
            addEventListener('resize', () => ns.board.page.grid.fit());
            document.addEventListener('visibilitychange', () => {
                if (!document.hidden) ns.board.state.refresh().catch(() => {});
            });
            matchMedia('(prefers-color-scheme: dark)').addEventListener('change', followTheme);
            new MutationObserver(followTheme).observe(document.body, {attributes: true, attributeFilter: ['class']});
        }
        if (ns.board.root.parentElement !== container) {
            container.replaceChildren(ns.board.root);
            followTheme();
        }
        if (first) ns.board.begin();
    }

    /** Optional numbers come from text fields, because gradio turns an empty number field into 0; what is no number is for the server to refuse. */
    function number(value) {
        return typeof value === 'string' && Number.isFinite(Number(value)) ? Number(value) : value;
    }

    /** From the form: values in the order of the paths, see ui/settings.py. */
    ns.startStudy = function (paths, values, nobody) {
        if (!ns.board) return;
        const at = Object.fromEntries(paths.map((path, index) => [path, values[index]]));
        const settings = {optimizer_settings: {}, host_settings: {}};
        const selection = {};
        const picture = at['settings.init_image'];
        delete at['settings.init_image'];
        const chosen = `optimizer.${at['settings.optimizer']}.`;
        for (const [path, value] of Object.entries(at)) {
            if (value === null || value === undefined) continue;
            if (path.startsWith(SELECTION)) selection[path.slice(SELECTION.length)] = value;
            else if (path.startsWith('settings.')) settings[path.slice(9)] = value;
            else if (path.startsWith('host.')) settings.host_settings[path.slice(5)] = value;
            else if (path.startsWith(chosen) && value !== '') settings.optimizer_settings[path.slice(chosen.length)] = number(value);
        }
        settings.selection = ns.selection.fromForm(selection) || {};
        const scorer = at['auto.scorer'];
        const auto = scorer && scorer !== nobody ? {scorer, rounds: at['auto.rounds']} : null;
        if (ns.board.state.data.study) ns.board.actions.confirm();
        else ns.board.actions.create({settings, name: (at.name || '').trim() || null}, auto, picture);
    };

    /** From gradio's own buttons (the webui's hot keys press them). */
    ns.command = function (name) {
        if (ns.board) ns.board.run({name});
    };

    /** Until the container is there look at every change of the page; afterwards now and then, because gradio may draw anew. */
    function start() {
        mount();
        if (!ns.board) {
            const observer = new MutationObserver(() => {
                mount();
                if (ns.board) observer.disconnect();
            });
            observer.observe(document.documentElement, {childList: true, subtree: true});
        }
        setInterval(mount, 500);
    }

    if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', start);
    else start();
}());
