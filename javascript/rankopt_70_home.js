// The list of studies, beside the settings of a new one.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.Home) return;

    const {h, icon, button, plural} = ns.base;

    class Home {
        constructor(state, actions) {
            this.state = state;
            this.actions = actions;
            this.list = h('ul', {class: 'ro-studies'});
            this.element = h('section', {class: 'ro-home', 'aria-label': 'Studies'},
                h('header', {class: 'ro-head'}, h('h2', {}, 'Your studies'), h('div', {class: 'ro-head-buttons'}, ns.raterButton(),
                    button('Rank a folder', null, () => ns.board.folders.ask(), {icon: 'folder', command: 'rank_folder'}),
                    button('Data', null, () => ns.board.dataPage.open(), {icon: 'four', command: 'data'}),
                    button('Train a LoRA', null, () => ns.board.training.open(), {icon: 'curve', command: 'train'}))), this.list);
            this.drawn = undefined;
        }

        draw(data) {
            if (this.drawn === data.studies) return;
            this.drawn = data.studies;
            if (!data.studies) this.list.replaceChildren(...[0, 1, 2].map(() => h('li', {class: 'ro-study ro-waiting', 'aria-hidden': 'true'})));
            else if (!data.studies.length) this.list.replaceChildren(this.welcome());
            else this.list.replaceChildren(...data.studies.map((study) => this.row(study)));
        }

        welcome() {
            const steps = ['Say what the images should show.', 'Put the images in the order you like them: press 1 to 9.', 'Press Enter: the next ones follow your taste.'];
            return h('li', {class: 'ro-welcome'}, h('h3', {}, 'Rank images, and they get better'), h('ol', {}, steps.map((step) => h('li', {}, step))));
        }

        row(study) {
            const image = study.now_image || study.start_image;
            const about = study.rounds ? `${plural(study.answered, 'round')} ranked · ${plural(study.images, 'image')}` : 'not begun';
            const tool = (name, label, run) => h('button', {type: 'button', class: 'ro-tool', title: label, 'aria-label': `${label} ${study.name}`, onclick: run}, icon(name));
            return h('li', {class: 'ro-study', 'data-study': study.id},
                h('button', {type: 'button', class: 'ro-open', onclick: () => this.state.visit(study.id).catch(ns.report)},
                    h('span', {class: 'ro-thumb'}, image ? h('img', {src: this.state.api.image(image), alt: '', loading: 'lazy'}) : null),
                    h('span', {class: 'ro-about'}, h('strong', {}, study.name), h('span', {class: 'ro-dim'}, study.settings.prompt),
                        h('span', {class: 'ro-dim'}, study.parent ? `${about} · a branch` : about))),
                tool('pen', 'Rename', () => ns.askName(study, this.actions)), tool('bin', 'Delete', () => ns.askDelete(study, this.actions)));
        }
    }

    ns.Home = Home;
}());
